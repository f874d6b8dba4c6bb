cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.packet.shape cimport free_chain
from mbuf.packet.source cimport Source

cdef int M_NOWAIT, MT_DATA
cdef unsigned int M_PKTHDR
cdef Py_ssize_t MHLEN, MINCLSIZE


@cython.locals(n=Chain, at=Py_ssize_t, piece=Py_ssize_t)
cpdef Mbuf pour(Mbuf m, data, Py_ssize_t size, Py_ssize_t align)


@cython.locals(top=Chain, last=Chain, m=Chain, made=Mbuf, at=Py_ssize_t, piece=Py_ssize_t, large=cython.bint)
cpdef Mbuf take_in(Source source, data, Py_ssize_t size, Py_ssize_t off, rcvif, copy)


@cython.locals(top=Mbuf, last=Mbuf, m=Mbuf, rest=Py_ssize_t)
cpdef Mbuf land(list mbufs, Py_ssize_t size, PktHdr like=*, unsigned int bits=*)


@cython.locals(start=Py_ssize_t, packets=list, m=Mbuf)
cpdef list land_each(list mbufs, Py_ssize_t size, Py_ssize_t each, PktHdr like, unsigned int bits)


@cython.locals(m=Mbuf)
cdef Mbuf _armed(thing)
