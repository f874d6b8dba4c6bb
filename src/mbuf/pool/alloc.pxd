cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.ext cimport Storage
from mbuf.packet.mbuf cimport Mbuf, handle, packet
from mbuf.packet.source cimport Source, until
from mbuf.pool.ask cimport check
from mbuf.pool.zones cimport Zones
from mbuf.uma.item cimport Item
from mbuf.uma.zone cimport Zone
from mbuf.vm.number cimport clip

cdef int M_NOWAIT, MT_DATA
cdef object NOWAIT, DATA, PKTHDR
cdef unsigned int M_EOR, M_EXT, M_PKTHDR


cdef class Allocator(Source):
    cdef public Zones zones
    cdef unsigned long long _drops

    cpdef Chain get(self, how=*, object type=*, timeout=*)
    cpdef Chain gethdr(self, how=*, object type=*, timeout=*)
    cpdef Chain getcl(self, how=*, object type=*, flags=*, timeout=*)
    cpdef cluster(self, size, how, timeout)
    cpdef dropped(self, Item item)

    @cython.locals(first=Mbuf, last=Mbuf, m=Mbuf)
    cdef Mbuf _chain(self, Py_ssize_t count, int how, int type, unsigned int flags, deadline)
    cdef Mbuf _largest(self, Py_ssize_t count, int how, int type, unsigned int flags, deadline)

    @cython.locals(zone=Zone, item=Item)
    cdef Mbuf _plain(self, int how, int type, unsigned int flags, deadline)

    @cython.locals(zone=Zone, item=Item)
    cdef Mbuf _packet(self, int how, int type, unsigned int flags, deadline)

    @cython.locals(m=Mbuf)
    cdef Mbuf _with_cluster(self, Zone zone, int how, int type, unsigned int flags, deadline)
    cdef Item _cluster(self, Zone zone, int how, deadline)

    @cython.locals(storage=Storage)
    cdef Mbuf _attach(self, Mbuf m, Item item)


@cython.locals(tail=Chain)
cdef int _extend(Mbuf m, Mbuf extra, unsigned int flags) except -1


@cython.locals(tail=Chain)
cdef int _end_record(Mbuf m, unsigned int flags) except -1
cdef int _attachable(Mbuf m) except -1
cdef int _live(Mbuf m) except -1
