cimport cython

from mbuf.uma.cache cimport Cache
from mbuf.uma.item cimport Home


@cython.no_gc
cdef class Tally(Home):
    cdef readonly str name
    cdef readonly Py_ssize_t size
    cdef readonly object backend
    cdef readonly bint primary
    cdef readonly object limiter
    cdef readonly object depot
    cdef unsigned long long _allocs
    cdef unsigned long long _frees
    cdef unsigned long long _fails
    cdef list _caches

    cdef int tally(self, str name, Py_ssize_t size, backend, bint primary, limiter, depot) except -1

    @cython.locals(here=Cache, allocs=cython.ulonglong, frees=cython.ulonglong, cached=Py_ssize_t)
    cdef tuple _counts(self)

    @cython.locals(here=Cache, books=list)
    cpdef list books(self)
