cimport mbuf.pool.allocator as allocator
cimport mbuf.pool.build as build
cimport mbuf.pool.bulk as bulk
cimport mbuf.pool.chain as chain
cimport mbuf.pool.extpg as extpg

from mbuf.packet.mbuf cimport Mbuf
from mbuf.pool.allocator cimport Allocator, ready
from mbuf.pool.validate cimport at_least, validate
from mbuf.packet.source cimport until
from mbuf.vm.commit cimport check_latch, run_releases
from mbuf.vm.buffer_export cimport export_buffer
from mbuf.vm.ints cimport integer

cdef int M_NOWAIT, M_WAITOK, MT_DATA
cdef object NOWAIT, DATA, PKTHDR
cdef unsigned int M_EXTPG, M_NOFREE, M_PKTHDR
cdef Py_ssize_t MCLBYTES


cdef class Pool:
    cdef Allocator _allocator
    cdef object _parts
    cdef object _sysctl

    cdef bint _shared(self) except -1


cdef int _list(packets) except -1
