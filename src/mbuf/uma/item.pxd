cimport cython

from mbuf.vm.page cimport Memory
from mbuf.vm.probe cimport Probes


@cython.no_gc
cdef class Item(Memory):
    cdef Home home
    cdef object handle
    cdef object mate
    cdef Item link
    cdef bint cut
    cdef bint out

    cdef int release(self) except -1
    cdef int unwatched(self) except -1
    cdef int let_go(self) except -1
    cpdef spend(self)


@cython.no_gc
cdef class Home:
    cdef public int held
    cdef public Probes probes
    cdef public object source

    cdef bint keep(self, Item item) noexcept
    cpdef int free(self, Item item) except -1
    cpdef void press(self, int change) noexcept
    cpdef wring(self)
