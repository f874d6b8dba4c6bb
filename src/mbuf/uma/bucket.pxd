cimport cython
from cpython.ref cimport PyObject

from mbuf.uma.item cimport Item


@cython.final
@cython.no_gc
cdef class Bucket:
    cdef readonly int entries
    cdef readonly int cnt
    cdef PyObject **slots

    cpdef Item pop(self)
    cdef void push(self, Item item) noexcept
    cdef void tuck(self, Item item) noexcept
    cpdef list items(self)
