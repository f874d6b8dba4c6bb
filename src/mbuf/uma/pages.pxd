cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.item cimport ItemOwner, Item
from mbuf.uma.keg cimport Keg
from mbuf.vm.poison cimport unpoison

cdef Py_ssize_t PAGE_SIZE


@cython.no_gc
cdef class Pages(ItemOwner):
    cdef readonly Keg keg

    @cython.locals(page=Item, bucket=Bucket)
    cpdef Item alloc(self, int how, deadline)

    @cython.locals(keg=Keg)
    cpdef int free(self, Item page) except -1
    cpdef close(self)
