cimport cython

from mbuf.net.aio.addresses cimport Addresses
from mbuf.net.port.rules cimport check_ready
from mbuf.packet.peer cimport Peer
from mbuf.packet.chain cimport length
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.segment cimport check_mutable
from mbuf.pool.build cimport frombytes, wrap
from mbuf.pool.pool cimport Pool
from mbuf.vm.buffer_export cimport BufferExport, export_buffer
from mbuf.vm.commit cimport run_releases

cdef int M_NOWAIT
cdef unsigned int M_PKTHDR
cdef Py_ssize_t BATCH, HEADER


@cython.final
cdef class Outbox:
    cdef Pool _pool
    cdef Addresses _addresses
    cdef object _find_peer
    cdef bint _fixed
    cdef object _remote
    cdef Py_ssize_t _longest
    cdef object _flush
    cdef readonly list packets
    cdef readonly object waiting
    cdef readonly Py_ssize_t size
    cdef public bint corked
    cdef public bint closed
    cdef public Py_ssize_t dropped

    @cython.locals(peer=Peer, export=BufferExport, size=Py_ssize_t, wait=cython.bint)
    cpdef put(self, data, address)

    @cython.locals(m=Mbuf)
    cdef bint _copy(self, BufferExport export, Peer peer) except -1
    cdef int _append(self, Mbuf m, Peer peer, Py_ssize_t size) except -1
    cdef int _put_mbuf(self, Mbuf m, Peer peer, address) except -1
    cdef int _queued(self) except -1

    @cython.locals(m=Mbuf)
    cpdef bint refill(self) except -1

    @cython.locals(size=Py_ssize_t)
    cpdef recount(self)

    @cython.locals(kept=list, count=Py_ssize_t)
    cpdef Py_ssize_t drop_freed(self) except -1
    cpdef drop_all(self)
    cpdef disconnect(self)
