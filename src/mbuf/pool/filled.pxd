cimport cython

from mbuf.packet.build cimport pour, take_in
from mbuf.packet.loose cimport Loose
from mbuf.packet.mbuf cimport Mbuf, handle
from mbuf.pool.alloc cimport Allocator
from mbuf.pool.ask cimport check
from mbuf.vm.number cimport clip

cdef int M_NOWAIT, MT_DATA
cdef unsigned int M_EXTPG, M_NOFREE, M_PKTHDR
cdef Py_ssize_t INT_MAX, MHLEN


cdef class Filled(Allocator):
    cdef readonly object snd_tags
    cdef Loose _loose
