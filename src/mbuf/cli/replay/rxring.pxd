cimport cython

from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.queue cimport MbufQ


cdef class RxRings:
    cdef object _get
    cdef tuple _rings
    cdef readonly Py_ssize_t cluster
    cdef readonly Py_ssize_t descriptors
    cdef readonly Py_ssize_t empty
    cdef readonly Py_ssize_t denials
    cdef readonly object last_denial

    @cython.locals(ring=MbufQ)
    cpdef bint refill(self, Py_ssize_t queue) except -1
    cdef bint _fill_slot(self, MbufQ ring) except -1
    cpdef Py_ssize_t slots_for(self, long long length) except -1

    @cython.locals(ring=MbufQ, m=Mbuf)
    cpdef Mbuf receive(self, Py_ssize_t queue, data, Py_ssize_t start, Py_ssize_t captured, long long length)

    @cython.locals(count=Py_ssize_t, m=Mbuf)
    cdef Mbuf _receive_slow(self, MbufQ ring, Py_ssize_t queue, data, long long length)

    @cython.locals(head=Mbuf, last=Mbuf, m=Mbuf, n=Py_ssize_t)
    cdef Mbuf _take(self, MbufQ ring, data, Py_ssize_t count)
