cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.ext cimport Storage
from mbuf.packet.mbuf cimport Mbuf, handle, packet
from mbuf.packet.source cimport Source
from mbuf.pool.zones cimport Zones
from mbuf.uma.item cimport Item
from mbuf.uma.zone cimport Zone

cdef int M_NOWAIT, M_WAITOK, MT_DATA, MT_NOINIT
cdef unsigned int M_COPYFLAGS, M_EOR, M_EXT, M_PKTHDR


cdef class Allocator(Source):
    cdef readonly object vm
    cdef public Zones zones
    cdef public unsigned long long drops

    cpdef dropped(self, Item item)

    cpdef Mbuf get(self, int how=*, int type=*, timeout=*)
    cpdef Mbuf gethdr(self, int how=*, int type=*, timeout=*)
    cpdef Mbuf getcl(self, int how=*, int type=*, unsigned int flags=*, timeout=*)

    @cython.locals(packets=list, item=Item, zone=Zone, i=Py_ssize_t)
    cpdef list getcl_bulk(self, Py_ssize_t n, int how=*, int type=*, unsigned int flags=*, timeout=*)

    @cython.locals(m=Mbuf, n=Py_ssize_t)
    cpdef free_bulk(self, list packets)

    @cython.locals(tail=Chain, first=Mbuf)
    cpdef Mbuf getm2(self, Py_ssize_t len, int how=*, int type=*, unsigned int flags=*, Mbuf m=*, timeout=*)

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


cdef int check(int how, int type, unsigned int flags) except -1
cdef until(int how, timeout)
cdef int _attachable(Mbuf m) except -1
