cimport cython


@cython.final
@cython.no_gc
cdef class WorkingSet:
    cdef readonly Py_ssize_t nitems, imin, imax, wss
    cdef double _next

    cpdef void add(self, Py_ssize_t count) noexcept
    cpdef void remove(self, Py_ssize_t count) noexcept
    cpdef void imported(self, Py_ssize_t count) noexcept

    @cython.locals(n=cython.int)
    cpdef void tick(self, double now) noexcept
    cpdef Py_ssize_t spare(self) noexcept


cdef double _PERIOD
cdef int _MAX_PERIODS
