cimport mbuf.pool.allocator as allocator
cimport mbuf.pool.chain as chain

from mbuf.pool.validate cimport validate

cdef int M_NOWAIT
cdef unsigned int M_EOR, M_PKTHDR
