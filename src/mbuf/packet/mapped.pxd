cimport cython

from mbuf.packet.ext cimport Storage, free_tags
from mbuf.packet.unmapped cimport Unmapped
from mbuf.uma.item cimport ItemOwner, Item
from mbuf.vm.commit cimport enter_commit, leave_commit, release_later
from mbuf.vm.page cimport Memory

cdef int EXT_SFBUF


@cython.no_gc
cdef class Mapped(Storage):
    cdef Unmapped of
    cdef Memory seen
    cdef object number

    cdef int init(self, Unmapped of, Py_ssize_t page, Memory seen) except -1

    @cython.locals(of=Unmapped)
    cdef Py_ssize_t bytes_per_user(self) noexcept

    cdef void finish(self, Item item) noexcept

    @cython.locals(of=Unmapped, seen=Memory)
    cdef int end(self, Item item) except -1


@cython.locals(made=Mapped, root=Unmapped)
cdef Mapped mapped(Unmapped of, Py_ssize_t page)
cdef void ref_root(Mapped made, Item item) noexcept


@cython.locals(of=Unmapped, seen=Memory)
cdef int discard(Mapped made) except -1
