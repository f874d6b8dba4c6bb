cimport cython

from mbuf.pool.alloc cimport Allocator
from mbuf.pool.filled cimport Filled


cdef class Pool(Filled):
    cdef readonly bint alive
    cdef readonly bint debug
    cdef readonly object vm
    cdef Allocator _source
    cdef readonly object limits
    cdef readonly object cpus
    cdef readonly object reclaim
    cdef readonly object changes
