cimport cython

from mbuf.vm.page cimport Memory
from mbuf.vm.probe cimport Probes


@cython.no_gc
cdef class Item(Memory):
    cdef Home home
    cdef object handle
    cdef object mate

    cdef int release(self) except -1
    cdef int unwatched(self) except -1
    cpdef spend(self)


@cython.no_gc
cdef class Home:
    cdef public int held
    cdef public Probes probes
    cdef public object source

    cdef bint keep(self, Item item) noexcept
    cpdef int free(self, Item item) except -1


cdef class Backend:
    pass
