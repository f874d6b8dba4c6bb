cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.workset cimport WorkingSet
from mbuf.vm.commit cimport enter_commit, leave_commit

cdef int UMA_RECLAIM_TRIM


@cython.final
cdef class Depot:
    cdef readonly int bucket_size
    cdef readonly int bucket_min
    cdef readonly int bucket_max
    cdef readonly unsigned long long most
    cdef readonly object clock
    cdef Bucket _first
    cdef WorkingSet _work

    @cython.locals(now=double)
    cpdef WorkingSet work(self)

    @cython.locals(buckets=cython.longlong, size=cython.longlong)
    cpdef int set_maxcache(self, long long limit, int cpus) except -1
    cpdef Bucket new_bucket(self)

    @cython.locals(bucket=Bucket)
    cdef Bucket pop(self, double now)

    @cython.locals(bucket=Bucket)
    cdef Bucket _pop(self)
    cdef bint push(self, Bucket bucket) noexcept
    cdef void _push(self, Bucket bucket) noexcept
    cdef void imported(self, Py_ssize_t count) noexcept
    cdef void halve(self) noexcept
    cdef Py_ssize_t tick(self, int request, double now) noexcept
    cdef void shrink(self) noexcept

    @cython.locals(bucket=Bucket, items=Py_ssize_t)
    cdef str contradiction(self)
