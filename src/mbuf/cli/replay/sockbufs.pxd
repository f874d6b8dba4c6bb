cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.queue cimport MbufQ

cdef long long NEVER


cdef class SockBufs:
    cdef object _cpus
    cdef MbufQ _queue
    cdef readonly long long next_due
    cdef readonly Py_ssize_t extra

    cpdef append(self, Mbuf m, long long due, int cpu, Py_ssize_t mbufs)

    @cython.locals(here=cython.uint, before=cython.uint, m=Mbuf, n=Chain, ahead=Mbuf)
    cpdef free_due(self, long long now)
    cpdef Py_ssize_t size(self)
