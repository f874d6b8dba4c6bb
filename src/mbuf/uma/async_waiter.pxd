cdef class AsyncWaiter:
    cdef object _zone
    cdef object _target
    cdef object _call

    cpdef use(self, ask)
    cpdef leave(self)
