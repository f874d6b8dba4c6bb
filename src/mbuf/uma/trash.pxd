cimport cython

from mbuf.uma.item cimport Item
from mbuf.uma.keg cimport Keg
from mbuf.uma.slab cimport Slab
from mbuf.uma.zone cimport Zone
from mbuf.vm.commit cimport in_commit, release_later
from mbuf.vm.page cimport Memory

cdef Py_ssize_t PAGE_SIZE


cdef class TrashKeg(Keg):
    @cython.locals(memory=Memory)
    cdef int fresh(self, Slab slab) except -1


cdef class TrashZone(Zone):
    cdef dict _out

    @cython.locals(item=Item)
    cpdef Item alloc(self, int how, deadline)
    cpdef int free(self, Item item) except -1
    cdef bint try_free(self, Item item) noexcept
    cdef _check(self, Item item)

    @cython.locals(cluster=Memory)
    cdef Memory _bytes_of(self, Item item)
