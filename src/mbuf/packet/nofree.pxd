cimport cython

from mbuf.uma.item cimport Home, Item, MbufItem
from mbuf.vm.loan cimport loan
from mbuf.vm.probe cimport Probes

cdef Py_ssize_t MSIZE


@cython.no_gc
cdef class NoFree(Home):
    @cython.locals(item=MbufItem)
    cdef MbufItem item(self)
    cpdef int free(self, Item item) except -1
