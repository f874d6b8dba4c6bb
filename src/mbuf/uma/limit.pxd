cimport cython

from mbuf.uma.item cimport Home
from mbuf.uma.waitq cimport Waiter, Waiters, WaitQ, current_thread
from mbuf.vm.commit cimport enter_commit, leave_commit, work_off_all

cdef int M_WAITOK


cdef class Warnings:
    cdef public object on
    cdef public object interval


@cython.final
cdef class Limit:
    cdef readonly str name
    cdef readonly str sysctl
    cdef readonly object clock
    cdef readonly long long max
    cdef readonly long long items
    cdef public long long moving
    cdef readonly unsigned long long sleeps
    cdef readonly unsigned long long suppressed
    cdef readonly WaitQ waiters
    cdef readonly bint closed
    cdef public Warnings warnings
    cdef public object on_limit
    cdef public Home owner
    cdef Waiters _paying
    cdef double _warned

    cpdef set(self, maximum)

    @cython.locals(room=Py_ssize_t)
    cpdef Py_ssize_t charge(self, Py_ssize_t count, int how, deadline) except -1

    @cython.locals(room=Py_ssize_t)
    cdef Py_ssize_t _charge(self, Py_ssize_t count) except -1

    @cython.locals(call=Waiter, thread=cython.ulong)
    cdef bint _spend(self) noexcept
    cdef Py_ssize_t _room(self, Py_ssize_t count) noexcept
    cpdef int uncharge(self, Py_ssize_t count) except -1
    cdef void take_off(self, Py_ssize_t count) noexcept

    @cython.locals(unwanted=Py_ssize_t)
    cdef int tell(self) except -1
    cpdef int dismiss(self) except -1

    @cython.locals(waiter=Waiter, got=cython.bint)
    cdef int _sleep(self, deadline) except -1

    @cython.locals(granted=cython.bint)
    cdef int _wait(self, Waiter waiter, deadline) except -1
    cdef int _hand_on(self, Waiter waiter) except -1
    cpdef Waiter enlist(self, wake)
    cpdef leave(self, Waiter call)

    @cython.locals(paying=cython.bint)
    cpdef redeem(self, Waiter call, ask)
    cdef int _end_paying(self, Waiter call) except -1

    @cython.locals(count=Py_ssize_t)
    cpdef int forked(self) except -1
    cdef _warn(self)
    cdef str contradiction(self, long long items)
