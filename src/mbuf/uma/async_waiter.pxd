cdef class AsyncWaiter:
    cdef object _zone
    cdef object _line
    cdef object _call

    cpdef use(self, ask)
    cpdef leave(self)
