cimport cython


@cython.final
cdef class Wakeup:
    cdef public bint _asyncio_future_blocking
    cdef object _callback
    cdef object _context
    cdef bint _done
    cdef object _error
    cdef object _loop

    cpdef wake(self)
    cpdef wake_soon(self)
