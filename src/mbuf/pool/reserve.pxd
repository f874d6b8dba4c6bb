cimport cython

cimport mbuf.pool.allocator as allocator

from mbuf.packet.ext cimport Storage
from mbuf.packet.source cimport until
from mbuf.pool.validate cimport validate
from mbuf.pool.zones cimport Zones
from mbuf.uma.item cimport Backend, Item
from mbuf.uma.zone cimport Zone
from mbuf.vm.commit cimport check_latch, settle
from mbuf.vm.number cimport clip

cdef int M_NOWAIT, MT_DATA
cdef Py_ssize_t INT_MAX, MCLBYTES, MSIZE


cdef class PairZone(Zone):
    cdef public Zone mbuf

    @cython.locals(item=Item)
    cpdef Item alloc(self, int how, deadline)


@cython.locals(storage=Storage)
cpdef pair(Item item, Item cluster)


@cython.locals(cluster=Item)
cpdef Item part(Item item)
