cdef int M_NOWAIT, M_WAITOK, MT_NOINIT
cdef Py_ssize_t M_COPYFLAGS


cpdef int check(Py_ssize_t how, Py_ssize_t type, Py_ssize_t flags) except -1
