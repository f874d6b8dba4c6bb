cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.segment cimport check_alive, taken
from mbuf.vm.commit cimport LATCH, Latch, check_latch, enter_commit, leave_commit, release_later, run_releases
from mbuf.vm.ints cimport integer


cdef class MbufQ:
    cdef readonly Py_ssize_t maxlen
    cdef Mbuf _first
    cdef Mbuf _last
    cdef Py_ssize_t _count
    cdef unsigned long long _unlinks

    @cython.locals(packets=list, m=Chain)
    cdef list _packets(self)
    cdef Py_ssize_t length(self) except -1
    cdef Mbuf peek(self)
    cpdef enqueue(self, Mbuf m)
    cpdef prepend(self, Mbuf m)
    cpdef Mbuf dequeue(self)

    @cython.locals(m=Mbuf, found=Mbuf)
    cdef Mbuf _take(self)

    @cython.locals(m=Mbuf)
    cpdef drain(self)

    @cython.locals(m=Mbuf, first=Mbuf)
    cpdef Mbuf flush(self)
    cpdef concat(self, MbufQ other)
    cdef int _check(self, Mbuf m) except -1

    @cython.locals(last=Mbuf, m=Mbuf, n=Mbuf, gone=Mbuf)
    cdef int _refresh(self) except -1
