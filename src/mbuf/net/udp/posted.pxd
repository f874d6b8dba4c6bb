cimport cython

from mbuf.net.udp.receivecounts cimport ReceiveCounts
from mbuf.net.udp.recvmmsg cimport RecvVector
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.segment cimport check_alive
from mbuf.pool.pool cimport Pool

cdef int M_NOWAIT, MT_DATA
cdef Py_ssize_t MCLBYTES, MESSAGES_MAX, MJUM16BYTES


cdef class PostedBuffers:
    cdef Pool _pool
    cdef RecvVector _vector
    cdef list _posted
    cdef list _rooms
    cdef bint _small
    cdef Py_ssize_t _limit
    cdef bint _named
    cdef bint _keyed
    cdef Py_ssize_t _one_each
    cdef ReceiveCounts _counts
    cdef readonly Py_ssize_t segment
    cdef readonly Py_ssize_t size

    @cython.locals(spare=list, row=list)
    cdef int _free_posted(self) except -1

    @cython.locals(
        rooms=list, room=Py_ssize_t, total=Py_ssize_t, clusters=Py_ssize_t, cluster=Py_ssize_t,
        messages=Py_ssize_t, vector=RecvVector,
    )
    cdef int _set_layout(self, Py_ssize_t segment) except -1

    @cython.locals(
        pieces=Py_ssize_t, small=Py_ssize_t, large=Py_ssize_t, missing=Py_ssize_t, i=Py_ssize_t,
        complete=Py_ssize_t, fresh=list, row=list,
    )
    cdef Py_ssize_t _post(self, Py_ssize_t n) except -1

    @cython.locals(fresh=list)
    cdef list _alloc_small(self, Py_ssize_t count)

    @cython.locals(large=list, row=list, i=Py_ssize_t)
    cdef bint _post_large(self, Py_ssize_t n, Py_ssize_t count) except -1

    @cython.locals(i=Py_ssize_t, row=list)
    cdef Py_ssize_t _post_small(self, Py_ssize_t n, list fresh) except -1

    @cython.locals(piece=Py_ssize_t)
    cdef int _post_piece(self, Py_ssize_t i, list row, Mbuf m) except -1

    @cython.locals(row=list)
    cdef bint _move_piece(self, Py_ssize_t i, list fresh) except -1
