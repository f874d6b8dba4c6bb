cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.cache cimport Cache, pop_cached
from mbuf.uma.item cimport Item, mark_out
from mbuf.uma.counters cimport Counters
from mbuf.uma.waitq cimport current_thread
from mbuf.vm.commit cimport enter_commit, leave_commit

cdef int M_NOWAIT, M_WAITOK, UMA_RECLAIM_DRAIN_CPU


@cython.locals(bucket=Bucket, here=Cache)
cpdef Item from_depot(Counters zone, double now)


@cython.locals(here=Cache, item=Item, rejected=cython.bint, count=cython.int)
cpdef Item load(Counters zone, Bucket bucket)


@cython.locals(bucket=Bucket, item=Item)
cpdef Item alloc_item(Counters zone, int how, deadline)


@cython.locals(room=Py_ssize_t, size=Py_ssize_t, surplus=Py_ssize_t, bucket=Bucket)
cpdef Bucket fill(Counters zone, int how, deadline)
cpdef int import_items(Counters zone, Bucket bucket, Py_ssize_t count, int how, deadline) except -1
cdef int _begin_wait(Counters zone, Bucket bucket) except -1


@cython.locals(at=Bucket)
cdef int _end_wait(Counters zone, Bucket bucket) except -1


@cython.locals(bucket=Bucket, following=Bucket)
cpdef int forked(Counters zone) except -1
cpdef int release_bucket(Counters zone, Bucket bucket, Py_ssize_t charged) except -1


@cython.locals(following=Bucket)
cpdef int drain(Counters zone, Bucket bucket) except -1
cdef int _give_back(Counters zone, Bucket bucket) except -1


@cython.locals(
    first=Bucket, last=Bucket, bucket=Bucket, here=Cache, n=cython.int, left=Py_ssize_t, found=Bucket
)
cpdef Bucket detach_buckets(Counters zone, int request, double now)
cpdef trim(tuple zones, Counters through)
