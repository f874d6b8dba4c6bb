cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.packet.unmapped cimport Unmapped
from mbuf.uma.item cimport Home, Item
from mbuf.vm.page cimport Memory

cdef int EXT_SFBUF


@cython.no_gc
@cython.final
cdef class Mapped(Storage):
    cdef Unmapped of
    cdef Memory seen
    cdef object number

    cdef int begin(self, Unmapped of, Py_ssize_t page, Memory seen) except -1

    @cython.locals(of=Unmapped, seen=Memory)
    cdef int _end(self, Item item) except -1


@cython.locals(made=Mapped, seen=Memory, root=Unmapped)
cpdef Mapped mapped(Unmapped of, Py_ssize_t page, Item item)
