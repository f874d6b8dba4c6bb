cimport cython

from mbuf.pool.awaited cimport Awaited
from mbuf.pool.paged cimport Paged


cdef class Pool(Awaited):
    cdef readonly bint alive
    cdef readonly bint debug
    cdef readonly object vm
    cdef Paged _source
    cdef readonly object limits
    cdef readonly object cpus
    cdef readonly object reclaim
    cdef readonly object changes
    cdef readonly object warnings
    cdef public bint mb_use_ext_pgs
    cdef public object saved
    cdef public object stock
