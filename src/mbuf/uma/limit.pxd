cimport cython

from mbuf.uma.item cimport ItemOwner
from mbuf.uma.waitq cimport Waiter, Waiters, WaitQ, current_thread
from mbuf.vm.commit cimport enter_commit, leave_commit, run_all_releases

cdef int M_WAITOK


cdef class Warnings:
    cdef public object on
    cdef public object interval
    cdef double _warned

    cpdef no_memory(self, error, double now)


@cython.final
cdef class Limit:
    cdef readonly str name
    cdef readonly str sysctl
    cdef readonly object clock
    cdef readonly long long max
    cdef readonly long long items
    cdef public long long in_transit
    cdef readonly unsigned long long sleeps
    cdef readonly unsigned long long suppressed
    cdef readonly WaitQ waiters
    cdef readonly bint closed
    cdef public Warnings warnings
    cdef public object on_limit
    cdef public ItemOwner zone
    cdef Waiters _prepaid
    cdef double _warned

    cpdef set(self, maximum)

    @cython.locals(room=Py_ssize_t)
    cpdef Py_ssize_t charge(self, Py_ssize_t count, int how, deadline) except -1

    @cython.locals(room=Py_ssize_t)
    cdef Py_ssize_t _charge(self, Py_ssize_t count) except -1

    @cython.locals(call=Waiter, thread=cython.ulong)
    cdef bint _use_prepaid(self) noexcept
    cdef Py_ssize_t _room(self, Py_ssize_t count) noexcept
    cpdef int uncharge(self, Py_ssize_t count) except -1
    cdef void _uncharge(self, Py_ssize_t count) noexcept

    @cython.locals(refused=Py_ssize_t)
    cdef int wake_granted(self) except -1
    cpdef int close(self) except -1

    @cython.locals(waiter=Waiter, got=cython.bint)
    cdef int _sleep(self, deadline) except -1

    @cython.locals(granted=cython.bint)
    cdef int _wait(self, Waiter waiter, deadline) except -1
    cdef int _return_grant(self, Waiter waiter) except -1
    cpdef Waiter enqueue(self, wake)
    cpdef dequeue(self, Waiter call)

    @cython.locals(prepaid=cython.bint)
    cpdef use_grant(self, Waiter call, ask)
    cdef int _end_prepaid(self, Waiter call) except -1

    @cython.locals(count=Py_ssize_t)
    cpdef int forked(self) except -1
    cdef _warn(self)
    cdef str contradiction(self, long long items)
