cimport cython

from mbuf.packet.chain cimport Chain, free_chain, link, link_last, own_header
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.pkthdr cimport PktHdr, reset_header
from mbuf.packet.segment cimport check_alive, space
from mbuf.packet.segmentation cimport init_pkthdr_like
from mbuf.packet.source cimport Source
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.buffer_export cimport BufferExport
from mbuf.vm.page cimport view_of

cdef int M_NOWAIT, MT_DATA
cdef unsigned int M_PKTHDR
cdef Py_ssize_t MHLEN, MINCLSIZE


@cython.locals(n=Chain, at=Py_ssize_t, piece=Py_ssize_t)
cpdef Mbuf fill_chain(Mbuf m, BufferExport data, Py_ssize_t align)


@cython.locals(
    top=Chain, last=Chain, m=Chain, made=Mbuf, at=Py_ssize_t, size=Py_ssize_t, large=cython.bint,
)
cpdef Mbuf from_device(Source source, BufferExport data, Py_ssize_t off, rcvif, copy, view)


@cython.locals(top=Mbuf, last=Mbuf, m=Mbuf, rest=Py_ssize_t)
cpdef Mbuf from_rx(list mbufs, Py_ssize_t size, PktHdr like=*, unsigned int bits=*)


@cython.locals(start=Py_ssize_t, packets=list, m=Mbuf)
cpdef list from_rx_each(list mbufs, Py_ssize_t size, Py_ssize_t each, PktHdr like, unsigned int bits)


@cython.locals(m=Mbuf)
cdef Mbuf _posted(thing)
