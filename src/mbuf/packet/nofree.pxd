cimport cython

from mbuf.uma.item cimport ItemOwner, Item, MbufItem
from mbuf.vm.buffer_export cimport export_buffer
from mbuf.vm.probe cimport Probes

cdef Py_ssize_t MSIZE


@cython.no_gc
cdef class NoFree(ItemOwner):
    @cython.locals(item=MbufItem)
    cdef MbufItem item(self)
    cpdef int free(self, Item item) except -1
