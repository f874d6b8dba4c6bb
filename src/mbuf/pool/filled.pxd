cimport cython

from mbuf.packet.build cimport pour, take_in
from mbuf.packet.pages cimport pour_pages
from mbuf.packet.loose cimport Loose
from mbuf.packet.mbuf cimport Mbuf, handle
from mbuf.packet.source cimport until
from mbuf.pool.ask cimport check
from mbuf.pool.paged cimport Paged
from mbuf.vm.number cimport clip

cdef int M_NOWAIT, MT_DATA
cdef unsigned int M_EXTPG, M_NOFREE, M_PKTHDR
cdef Py_ssize_t INT_MAX, MBUF_PEXT_MAX_PGS, MHLEN, PAGE_SIZE


cdef class Filled(Paged):
    cdef readonly object snd_tags
    cdef public object sfbufs
    cdef Loose _loose
