cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.item cimport Item


@cython.final
cdef class Cache:
    cdef public Bucket alloc
    cdef public Bucket free
    cdef readonly unsigned long long allocs
    cdef readonly unsigned long long frees
    cdef readonly object lock

    cpdef Item pop(self)
    cpdef bint push(self, Item item) except -1
    cdef Item _pop(self)
    cdef bint _push(self, Item item) except -1
    cpdef int count(self)
