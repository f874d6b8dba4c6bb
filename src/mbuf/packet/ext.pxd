cimport cython

from mbuf.uma.item cimport ItemOwner, Item, MbufItem, free_item
from mbuf.vm.commit cimport enter_commit, leave_commit, release_later

cdef int EXT_PACKET
cdef Py_ssize_t _COUNT
# Room for as many kinds of cluster as there may be.
cdef Py_ssize_t _SIZES[16]
cdef unsigned char _TYPES[16]


@cython.no_gc
cdef class Storage(Item):
    cdef Item owner
    cdef unsigned int users
    cdef unsigned char type

    @cython.locals(n=Py_ssize_t)
    cdef void init_cluster(self) noexcept
    cdef void init_packet(self) noexcept
    cdef Py_ssize_t refcnt(self) noexcept
    cdef bint is_writable(self) noexcept
    cdef describe(self, Item item)
    cdef bint defers(self, Item item) noexcept
    cdef Py_ssize_t ext_size(self) noexcept
    cdef Py_ssize_t bound(self) except -1
    cdef Py_ssize_t bytes_per_user(self) noexcept
    cdef Py_ssize_t frags(self) noexcept
    cdef object counter(self)
    cdef int check_share(self) except -1
    cdef Storage make_sharer(self)
    cdef void ref(self, Item item, Storage made) noexcept
    cdef void unref(self, Item item) noexcept

    @cython.locals(owner=MbufItem)
    cdef void finish(self, Item item) noexcept

    @cython.locals(owner=Item)
    cdef void wait_for_views(self, Item item) noexcept

    @cython.locals(owner=Item)
    cdef void free_items(self, Item item) noexcept

    @cython.locals(owner=Item)
    cdef void views_gone(self) noexcept

    @cython.locals(item=Item)
    cdef int on_release(self) except -1
    cdef int end(self, Item item) except -1


cdef inline bint lone_packet(Storage storage) noexcept:
    return (
        storage.users == 1
        and storage.type == EXT_PACKET
        and storage.exports == 0
        and storage.owner is None
    )


cdef int free_tags(Item owner) except -1
