cimport cython
from cpython.ref cimport PyObject

from mbuf.uma.item cimport Item


@cython.final
cdef class Bucket:
    cdef readonly int entries
    cdef readonly int cnt
    cdef PyObject **slots

    cpdef Item pop(self)
    cpdef push(self, Item item)
    cpdef tuck(self, Item item)
    cpdef list items(self)
