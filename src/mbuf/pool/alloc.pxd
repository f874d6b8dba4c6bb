cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.ext cimport Storage
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.source cimport until
from mbuf.pool.ask cimport check
from mbuf.pool.dress cimport Dresser
from mbuf.uma.item cimport Item
from mbuf.uma.zone cimport Zone
from mbuf.vm.number cimport clip

cdef int M_NOWAIT, MT_DATA
cdef object NOWAIT, DATA, PKTHDR
cdef unsigned int M_EOR, M_EXT, M_PKTHDR


cdef class Allocator(Dresser):
    cpdef Chain get(self, how=*, object type=*, timeout=*)
    cpdef Chain gethdr(self, how=*, object type=*, timeout=*)
    cpdef Chain getcl(self, how=*, object type=*, flags=*, timeout=*)
    cpdef Mbuf getjcl(self, how=*, object type=*, flags=*, size=*, timeout=*)

    @cython.locals(m=Mbuf)
    cdef Mbuf _jumbo(self, Zone zone, int how, int type, unsigned int flags, deadline)

    cpdef cluster(self, size, how, timeout)

    @cython.locals(item=Item)
    cdef _cluster(self, Mbuf m, Zone zone, int how, deadline)

    @cython.locals(first=Mbuf, last=Mbuf, m=Mbuf)
    cdef Mbuf _chain(self, Py_ssize_t count, int how, int type, unsigned int flags, deadline)
    cdef Mbuf _largest(self, Py_ssize_t count, int how, int type, unsigned int flags, deadline)


@cython.locals(tail=Chain)
cdef int _extend(Mbuf m, Mbuf extra, unsigned int flags) except -1


@cython.locals(tail=Chain)
cdef int _end_record(Mbuf m, unsigned int flags) except -1
cdef int _attachable(Mbuf m) except -1
cdef int _live(Mbuf m) except -1
