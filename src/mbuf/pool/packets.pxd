cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.uma.item cimport Backend, Item
from mbuf.uma.zone cimport Zone


cdef class Packets(Backend):
    cdef object _keg
    cdef Zone _clusters
    cdef bint _short

    @cython.locals(items=list, item=Item, cluster=Item, paired=Py_ssize_t)
    cpdef list take(self, Py_ssize_t count, int how, deadline)

    @cython.locals(storage=Storage)
    cdef _pair(self, Item item, Item cluster)

    @cython.locals(item=Item, cluster=Item)
    cpdef give(self, list items)
