cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.uma.backend cimport Backend
from mbuf.uma.bucket cimport Bucket
from mbuf.uma.item cimport Item, MbufItem, is_out
from mbuf.uma.keg cimport Keg
from mbuf.uma.zone cimport Zone
from mbuf.vm.poison cimport unpoison

cdef int M_NOWAIT


cdef class Packets(Backend):
    cdef Keg _keg
    cdef Zone _clusters
    cdef bint _short

    @cython.locals(n=cython.int, first=cython.int, cluster=Item)
    cpdef take(self, Bucket bucket, Py_ssize_t count, int how, deadline)

    cdef int _give_rest(self, Bucket bucket, int end) except -1

    @cython.locals(storage=Storage)
    cdef int _pair(self, Item item, Item cluster) except -1

    @cython.locals(cluster=Item)
    cpdef give(self, Item item)
    cdef Py_ssize_t batch(self, Py_ssize_t count) except -1
    cpdef claim(self, claim, Py_ssize_t count)
    cpdef Py_ssize_t drain(self) except -1
    cpdef denied(self)
    cpdef wait_target(self, zone)
