cimport cython

from mbuf.vm.commit cimport Releasable, enter_commit, leave_commit, release_first
from mbuf.vm.asan cimport MBUF_ASAN
from mbuf.vm.page cimport Memory
from mbuf.vm.poison cimport poison, unpoison
from mbuf.vm.probe cimport Probes


cdef enum:
    # Values of the `state` of an item.
    IN_SLAB, IN_ZONE, OUT


@cython.no_gc
cdef class Item(Memory):
    cdef ItemOwner zone
    cdef Releasable link

    cdef void views_gone(self) noexcept
    cdef int on_release(self) except -1
    cdef Memory paired(self)
    cpdef invalidate(self)


@cython.final
@cython.no_gc
cdef class MbufItem(Item):
    cdef object handle
    cdef object cluster


@cython.no_gc
cdef class ItemOwner:
    cdef public int held
    cdef public Probes probes
    cdef readonly object source

    cdef bint try_free(self, Item item) noexcept
    cpdef int free(self, Item item) except -1
    cpdef void bypass_caches(self, int change) noexcept
    cpdef drain_caches(self)


cdef void free_viewed(Item item) noexcept


cdef inline void free_item(Item item) noexcept:
    if item.exports:
        free_viewed(item)
    elif not item.zone.try_free(item):
        release_first(item)


cdef inline bint is_out(Item item) noexcept:
    return item.state == OUT


cdef inline bint in_zone(Item item) noexcept:
    return item.state == IN_ZONE


cdef inline void leave_zone(Item item) noexcept:
    item.state = IN_SLAB


cdef inline void mark_out(Item item) noexcept:
    item.state = OUT
    if MBUF_ASAN:
        unpoison(item)
        if item.paired() is not None:
            unpoison(item.paired())


cdef inline void mark_free(Item item) noexcept:
    item.state = IN_ZONE
    if MBUF_ASAN:
        poison(item)
        if item.paired() is not None:
            poison(item.paired())
