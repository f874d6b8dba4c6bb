cimport mbuf.pool.allocator as allocator

from mbuf.pool.validate cimport validate

cdef int M_NOWAIT
cdef unsigned int M_EOR, M_PKTHDR
cdef Py_ssize_t MCLBYTES, MINCLSIZE
