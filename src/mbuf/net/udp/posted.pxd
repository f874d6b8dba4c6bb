cimport cython

from mbuf.net.udp.recvmmsg cimport Inbox
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.segment cimport check_alive
from mbuf.pool.pool cimport Pool

cdef int M_NOWAIT, MT_DATA
cdef Py_ssize_t MCLBYTES, MESSAGES, MJUM16BYTES


cdef class PostedBuffers:
    cdef Pool _pool
    cdef Inbox _inbox
    cdef list _armed
    cdef list _rooms
    cdef bint _small
    cdef Py_ssize_t _most
    cdef bint _named
    cdef Py_ssize_t _alone
    cdef unsigned long long _short
    cdef readonly Py_ssize_t segment
    cdef readonly Py_ssize_t size

    @cython.locals(spare=list, armed=list)
    cdef int _empty(self) except -1

    @cython.locals(
        rooms=list, room=Py_ssize_t, total=Py_ssize_t, clusters=Py_ssize_t, cluster=Py_ssize_t,
        messages=Py_ssize_t, inbox=Inbox, spare=list, armed=list,
    )
    cdef int _lay(self, Py_ssize_t segment) except -1

    @cython.locals(
        pieces=Py_ssize_t, small=Py_ssize_t, large=Py_ssize_t, missing=Py_ssize_t, i=Py_ssize_t,
        whole=Py_ssize_t, fresh=list, armed=list,
    )
    cdef Py_ssize_t _arm(self, Py_ssize_t want) except -1

    @cython.locals(fresh=list)
    cdef list _fetch(self, Py_ssize_t count)

    @cython.locals(large=list, armed=list, i=Py_ssize_t)
    cdef bint _enlarge(self, Py_ssize_t want, Py_ssize_t count) except -1

    @cython.locals(i=Py_ssize_t, armed=list)
    cdef Py_ssize_t _place(self, Py_ssize_t want, list fresh) except -1

    @cython.locals(piece=Py_ssize_t)
    cdef int _put(self, Py_ssize_t i, list armed, Mbuf m) except -1

    @cython.locals(armed=list)
    cdef bint _borrow(self, Py_ssize_t i, list fresh) except -1
