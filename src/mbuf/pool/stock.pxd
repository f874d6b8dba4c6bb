cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.packet.source cimport set_source
from mbuf.pool.zones cimport Zones
from mbuf.uma.backend cimport Backend
from mbuf.uma.bucket cimport Bucket
from mbuf.uma.item cimport Item, MbufItem, is_out, mark_free, mark_out
from mbuf.uma.zone cimport Zone
from mbuf.vm.commit cimport enter_commit, leave_commit

cdef int M_NOWAIT
cdef Py_ssize_t MCLBYTES, MSIZE


cdef class Queue(Backend):
    cdef readonly str what
    cdef Item _first, _last
    cdef Py_ssize_t _count

    cpdef take(self, Bucket bucket, Py_ssize_t count, int how, deadline)

    @cython.locals(item=Item)
    cdef Item _pop(self)
    cpdef Item remove(self)
    cpdef give(self, Item item)

    @cython.locals(item=Item, count=Py_ssize_t)
    cpdef audit(self)


cdef class Pairs(Backend):
    cdef readonly Zone mbuf
    cdef Zone _clust
    cdef Zone _own

    @cython.locals(item=Item, cluster=Item, most=Py_ssize_t)
    cpdef take(self, Bucket bucket, Py_ssize_t count, int how, deadline)

    @cython.locals(cluster=Item)
    cpdef give(self, Item item)


cdef class PairZone(Zone):
    cdef public Zone mbuf

    @cython.locals(item=Item)
    cpdef Item alloc(self, int how, deadline)


@cython.locals(storage=Storage)
cpdef pair(Item item, Item cluster)


@cython.locals(cluster=Item, packet=MbufItem)
cpdef Item part(Item item)
