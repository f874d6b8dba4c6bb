cimport cython

from mbuf.pool.alloc cimport Allocator
from mbuf.uma.item cimport Item


cdef class Pool(Allocator):
    cdef readonly bint closed
    cdef readonly object vm
    cdef readonly bint debug
    cdef readonly unsigned long long drops
    cdef readonly object limits
    cdef readonly object cpus
    cdef readonly object reclaim
    cdef readonly object changes
    cdef readonly object sysctl

    cpdef dropped(self, Item item)
