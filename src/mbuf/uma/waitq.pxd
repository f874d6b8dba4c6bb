cimport cython

from mbuf.vm.commit cimport enter_commit, leave_commit

cdef extern from "pythread.h":
    ctypedef void *PyThread_type_lock
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE
        PY_LOCK_ACQUIRED
        PY_LOCK_INTR
    PyThread_type_lock PyThread_allocate_lock() noexcept
    void PyThread_free_lock(PyThread_type_lock lock) noexcept
    void PyThread_release_lock(PyThread_type_lock lock) noexcept
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long us, int intr) noexcept nogil
    unsigned long PyThread_get_thread_ident() noexcept


cdef class Waiter:
    cdef readonly bint granted
    cdef unsigned long thread
    cdef object _wake
    cdef PyThread_type_lock _lock
    cdef Waiters _list
    cdef Waiter _prev, _next

    cdef void grant(self) noexcept
    cdef int wait(self, long long us) except -1
    cdef bint call(self) except -1


@cython.final
cdef class Waiters:
    cdef readonly Py_ssize_t count
    cdef Waiter _first, _last

    cdef void add(self, Waiter waiter) noexcept
    cdef void insert(self, Waiter waiter, Waiter at) noexcept
    cdef void remove(self, Waiter waiter) noexcept


cdef class WaitQ:
    cdef Waiters _queue
    cdef Waiters _waking
    cdef readonly Py_ssize_t refused

    cpdef Waiter enqueue(self, wake=*)
    cdef void add(self, Waiter waiter) noexcept

    @cython.locals(us=Py_ssize_t, status=cython.int)
    cpdef bint wait(self, Waiter waiter, deadline) except -1
    cpdef bint cancel(self, Waiter waiter) except -1
    cdef bint remove(self, Waiter waiter) noexcept
    cpdef bint grant(self) except -1

    @cython.locals(waiter=Waiter)
    cdef bint grant_next(self) noexcept

    @cython.locals(waiter=Waiter, taken=cython.bint)
    cpdef int wake(self) except -1
    cdef Waiter _next_to_wake(self)
    cdef void _refuse(self, Waiter waiter) noexcept

    @cython.locals(waiter=Waiter, following=Waiter, count=Py_ssize_t)
    cdef Py_ssize_t forked(self) noexcept

    @cython.locals(waiter=Waiter, n=Py_ssize_t)
    cdef str contradiction(self)


@cython.locals(thread=cython.ulong)
cpdef unsigned long current_thread() noexcept
cpdef Py_ssize_t microseconds(deadline) except -2
