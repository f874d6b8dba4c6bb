cimport mbuf.pool.allocator as allocator
cimport mbuf.pool.extpg as extpg

cdef int M_NOWAIT, M_WAITOK
cdef Py_ssize_t MBUF_PEXT_MAX_PGS, PAGE_SIZE
