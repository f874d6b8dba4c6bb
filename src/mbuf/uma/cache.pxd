cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.item cimport Item


@cython.no_gc
cdef class Cache:
    cdef public Bucket alloc
    cdef public Bucket free
    cdef readonly unsigned long long allocs
    cdef readonly unsigned long long frees

    cdef Item pop(self)
    cdef bint push(self, Item item) except -1
    cdef int count(self)


@cython.no_gc
cdef class LockedCache(Cache):
    cdef readonly object lock


cpdef Cache cache(Bucket none, lock)
