cimport cython

from mbuf.net.udp.receivecounts cimport ReceiveCounts
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.peer cimport Peer
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.packet.segment cimport check_alive
from mbuf.pool.pool cimport Pool
from mbuf.vm.buffer_export cimport export_buffer
from mbuf.vm.page cimport Exporter, Memory
from mbuf.vm.scan cimport new_bytes, set_bytes

cdef Py_ssize_t MHLEN, MLEN, SMALL


@cython.locals(
    each=Py_ssize_t, piece=Py_ssize_t, off=Py_ssize_t, left=Py_ssize_t, m=Mbuf, count=Py_ssize_t,
    done=Py_ssize_t, part=Py_ssize_t,
)
cdef int copy_datagrams(list ready, list row, Py_ssize_t size, Py_ssize_t segment, Peer peer) except -1


@cython.locals(m=Mbuf, n=Py_ssize_t)
cdef int compact_small(list packets) except -1


@cython.final
cdef class LateCopies:
    cdef bytearray _area
    cdef object _rest
    cdef Py_ssize_t _segment
    cdef PktHdr _header
    cdef unsigned int _bits
    cdef Exporter window

    cdef int begin(self, Py_ssize_t size, Py_ssize_t segment, PktHdr header, unsigned int bits) except -1

    cdef Py_ssize_t left(self) except -1

    @cython.locals(made=Py_ssize_t, done=cython.bint, header=PktHdr, size=Py_ssize_t, m=Mbuf)
    cdef bint copy(self, list ready, Pool pool, Py_ssize_t longest, ReceiveCounts counts) except -1


@cython.locals(memory=Memory, window=Exporter)
cdef Exporter _window_of(bytearray area)
