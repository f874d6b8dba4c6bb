cdef int M_NOWAIT, M_WAITOK
