cimport cython
from cpython.ref cimport Py_INCREF, PyObject

from mbuf.uma.bucket cimport Bucket, mbuf_slot
from mbuf.uma.item cimport Item, mark_out, mark_free


@cython.final
@cython.no_gc
cdef class Cache:
    cdef Bucket alloc
    cdef Bucket free
    cdef readonly unsigned long long allocs
    cdef readonly unsigned long long frees

    cdef int count(self) noexcept


cdef inline void swap(Cache cache) noexcept:
    cache.alloc, cache.free = cache.free, cache.alloc


cdef inline Item pop_cached(Cache cache):
    cdef Item item
    cdef Bucket bucket = cache.alloc
    if bucket.cnt == 0:
        bucket = cache.free
        if bucket.cnt == 0:
            return None
        swap(cache)
    cache.allocs += 1
    bucket.cnt -= 1
    item = mbuf_slot(bucket.slots, bucket.cnt)
    mark_out(item)
    return item


cdef inline bint push_cached(Cache cache, Item item) noexcept:
    cdef Bucket bucket = cache.alloc
    cdef int cnt = bucket.cnt
    if cnt == bucket.entries:
        bucket = cache.free
        cnt = bucket.cnt
        if cnt == bucket.entries:
            return False
        swap(cache)
    mark_free(item)
    cache.frees += 1
    Py_INCREF(item)
    bucket.cnt = cnt + 1
    # Below the top item: see `Bucket.push_below_top`.
    if cnt:
        bucket.slots[cnt] = bucket.slots[cnt - 1]
        bucket.slots[cnt - 1] = <PyObject *>item
    else:
        bucket.slots[0] = <PyObject *>item
    return True
