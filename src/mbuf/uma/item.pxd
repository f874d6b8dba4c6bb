cimport cython

from mbuf.vm.commit cimport enter_commit, leave_commit, put_first
from mbuf.vm.asan cimport MBUF_ASAN
from mbuf.vm.page cimport Memory
from mbuf.vm.poison cimport poison, unpoison
from mbuf.vm.probe cimport Probes


@cython.no_gc
cdef class Item(Memory):
    cdef Home home
    cdef object handle
    cdef object cluster
    cdef Item link
    cdef bint cut
    cdef bint out

    cdef void views_gone(self) noexcept
    cdef int let_go(self) except -1
    cpdef invalidate(self)


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


cdef inline void hand_out(Item item) noexcept:
    item.out = True
    if MBUF_ASAN:
        unpoison(item)
        if item.cluster is not None:
            unpoison(<Memory>item.cluster)


cdef inline void take_home(Item item) noexcept:
    item.out = False
    if MBUF_ASAN:
        poison(item)
        if item.cluster is not None:
            poison(<Memory>item.cluster)
