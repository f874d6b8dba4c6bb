cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.uma.item cimport Item
from mbuf.vm.number cimport clip
from mbuf.vm.page cimport Memory, Window

cdef unsigned int M_FREED
cdef unsigned int M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR, M_RDONLY
cdef Py_ssize_t MHLEN, MHSIZE, MLEN, MPKTHSIZE, MSIZE, MT_NOINIT, MT_NOTMBUF


@cython.no_gc
cdef class Segment(Window):
    cdef Item item
    cdef unsigned int bits
    cdef unsigned char kind

    cdef void reset(self, Item item, Memory buf, Py_ssize_t off, int kind, unsigned int bits) noexcept
    cdef void attach(self, Storage storage) noexcept
    cdef Item live(self)
    cdef Py_ssize_t start(self)
    cdef Py_ssize_t capacity(self)
    cdef Py_ssize_t end(self) except -1
    cdef bint free_to_write(self)

    @cython.locals(storage=Storage)
    cdef Storage store(self)
    cdef Py_ssize_t space(self)
    cdef list pieces(self)

    @cython.locals(kind=Py_ssize_t)
    cpdef chtype(self, object type)

    @cython.locals(start=Py_ssize_t, most=Py_ssize_t, room=Py_ssize_t)
    cpdef align(self, count)
