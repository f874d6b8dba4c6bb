cdef int M_NOWAIT, M_WAITOK, MLEN, MT_NOINIT
cdef Py_ssize_t M_COPYFLAGS


cpdef int validate(Py_ssize_t how, Py_ssize_t type, Py_ssize_t flags) except -1
cpdef int at_least(Py_ssize_t least, Py_ssize_t n, str verb) except -1
