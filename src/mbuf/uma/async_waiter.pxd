cdef class AsyncWaiter:
    cdef object _zone
    cdef object _target
    cdef object _call

    cpdef use(self, ask)
    cpdef leave(self)


cdef class MemoryWaiter:
    cdef object _budget
    cdef object _claim

    cpdef use(self, ask)
    cpdef leave(self)
