cimport cython

from mbuf.vm.commit cimport Releasable, enter_commit, leave_commit, put_first
from mbuf.vm.asan cimport MBUF_ASAN
from mbuf.vm.page cimport Memory
from mbuf.vm.poison cimport poison, unpoison
from mbuf.vm.probe cimport Probes


cdef enum:
    # What `state` of an item says.
    IN_SLAB, IN_ZONE, OUT


@cython.no_gc
cdef class Item(Memory):
    cdef Home home
    cdef Releasable link

    cdef void views_gone(self) noexcept
    cdef int let_go(self) except -1
    cdef Memory paired(self)
    cpdef invalidate(self)


@cython.final
@cython.no_gc
cdef class MbufItem(Item):
    cdef object handle
    cdef object cluster


@cython.no_gc
cdef class Home:
    cdef public int held
    cdef public Probes probes
    cdef readonly object source

    cdef bint keep(self, Item item) noexcept
    cpdef int free(self, Item item) except -1
    cpdef void bypass_caches(self, int change) noexcept
    cpdef drain_caches(self)


cdef void hold_home(Item item) noexcept


cdef inline void send_home(Item item) noexcept:
    if item.exports:
        hold_home(item)
    elif not item.home.keep(item):
        put_first(item)


cdef inline bint is_out(Item item) noexcept:
    return item.state == OUT


cdef inline bint in_zone(Item item) noexcept:
    return item.state == IN_ZONE


cdef inline void leave_zone(Item item) noexcept:
    item.state = IN_SLAB


cdef inline void hand_out(Item item) noexcept:
    item.state = OUT
    if MBUF_ASAN:
        unpoison(item)
        if item.paired() is not None:
            unpoison(item.paired())


cdef inline void take_home(Item item) noexcept:
    item.state = IN_ZONE
    if MBUF_ASAN:
        poison(item)
        if item.paired() is not None:
            poison(item.paired())
