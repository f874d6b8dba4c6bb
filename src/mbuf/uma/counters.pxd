cimport cython
from cpython.ref cimport PyObject

from mbuf.uma.backend cimport Backend
from mbuf.uma.bucket cimport Bucket
from mbuf.uma.cache cimport Cache
from mbuf.uma.cpu cimport Cpus
from mbuf.uma.depot cimport Depot
from mbuf.uma.item cimport ItemOwner
from mbuf.uma.limit cimport Limit


@cython.no_gc
cdef class Counters(ItemOwner):
    cdef readonly str name
    cdef readonly Py_ssize_t size
    cdef readonly Backend backend
    cdef readonly bint primary
    cdef readonly Limit limiter
    cdef readonly Depot depot
    cdef readonly Cpus cpus
    cdef readonly long long adopted
    cdef readonly int bypassed
    cdef readonly bint caching
    cdef readonly bint closed
    cdef bint _limited
    cdef unsigned long long _allocs
    cdef unsigned long long _frees
    cdef unsigned long long _fails
    cdef PyObject **_caches
    cdef int _count
    cdef Bucket _none
    cdef Bucket _waiting

    cdef int init_counters(
        self, str name, Py_ssize_t size, Backend backend, bint primary, Limit limiter, Depot depot
    ) except -1

    @cython.locals(here=Cache, count=cython.int, n=cython.int)
    cdef int init_caches(self, Cpus cpus) except -1

    @cython.locals(n=cython.int, found=Py_ssize_t)
    cdef bint has_cached(self) except -1

    @cython.locals(
        here=Cache, n=cython.int, allocs=cython.ulonglong, frees=cython.ulonglong, cached=Py_ssize_t
    )
    cdef tuple _counts(self)

    @cython.locals(here=Cache, n=cython.int, counts=list)
    cpdef list cache_counts(self)
