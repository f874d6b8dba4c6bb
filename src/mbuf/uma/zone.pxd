cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.cache cimport Cache, pop_cached, push_cached
from mbuf.uma.cpu cimport Cpus
from mbuf.uma.depot cimport Depot
from mbuf.uma.item cimport Item, is_out, mark_free
from mbuf.uma.limit cimport Limit
from mbuf.uma.refill cimport alloc_item, detach_buckets, drain, fill, from_depot, load
from mbuf.uma.counters cimport Counters
from mbuf.uma.waitq cimport current_thread
from mbuf.vm.commit cimport acquired, enter_commit, in_commit, leave_commit, release_later
from mbuf.vm.probe cimport Probes

cdef int UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM


@cython.no_gc
cdef class Zone(Counters):
    cdef readonly Zone diverted
    cdef public Zone feeds
    cdef unsigned long _reclaimer
    cdef Cache _cache

    @cython.locals(item=Item)
    cpdef Item alloc(self, int how, deadline)
    cpdef int free(self, Item item) except -1
    cdef bint try_free(self, Item item) noexcept

    @cython.locals(here=Cache, kept=cython.bint)
    cdef bint _push(self, Item item) noexcept

    @cython.locals(item=Item)
    cdef Item _pop_here(self)
    cdef bint _push_here(self, Item item) except -1
    cpdef receive(self, Item item)
    cpdef adopt(self)
    cpdef divert(self, Zone to)
    cdef int _check_made(self) except -1
    cdef int _check_out(self, Item item) except -1

    @cython.locals(bucket=Bucket, item=Item, now=cython.double)
    cdef Item _alloc_dry(self, int how, deadline)

    cdef int _free_slow(self, Item item) except -1

    @cython.locals(here=Cache, fresh=Bucket, full=Bucket, kept=cython.bint)
    cdef int _free_full(self, Item item) except -1

    @cython.locals(to=Zone)
    cdef int _give(self, Item item) except -1

    @cython.locals(out=cython.bint)
    cdef int _take_back(self, Item item) except -1
    cpdef void bypass_caches(self, int change) noexcept
    cpdef drain_caches(self)
    cpdef reclaim(self, request)

    @cython.locals(now=cython.double, bucket=Bucket)
    cpdef _reclaim(self, int request)

    @cython.locals(limiter=Limit)
    cpdef close(self)


cdef inline Item cached_item(Zone zone):
    if zone._cache is None:
        return None
    cdef Item item = pop_cached(zone._cache)
    if item is not None:
        acquired()
    return item


cdef inline bint cache_item(Zone zone, Item item) noexcept:
    return not zone.bypassed and is_out(item) and push_cached(zone._cache, item)
