cimport cython

from mbuf.packet.epg cimport Epg, new_epg
from mbuf.packet.ext cimport Storage, free_tags
from mbuf.packet.deferred_free cimport DeferredFree
from mbuf.uma.item cimport ItemOwner, Item, free_item
from mbuf.uma.pages cimport Pages
from mbuf.vm.commit cimport enter_commit, leave_commit, release_later, run_releases
from mbuf.vm.page cimport Memory, view_of

cdef Py_ssize_t MBUF_PEXT_MAX_PGS, PAGE_SIZE
cdef int EPG_FLAG_2FREE


@cython.no_gc
cdef class Unmapped(Storage):
    cdef Epg epg
    cdef Pages supply
    cdef tuple frames
    cdef object file
    cdef Unmapped root
    cdef object tls
    cdef tuple free_cb
    cdef bint released
    cdef bint detached

    cdef int init(self, Pages supply) except -1
    cdef int _init_memory(self) except -1
    cdef Unmapped root_or_self(self)

    @cython.locals(root=Unmapped)
    cdef Unmapped live_root(self)
    cdef int set_free_cb(self, free, arg1, call) except -1

    @cython.locals(epg=Epg)
    cdef int add_frames(self, tuple frames) except -1
    cdef int hold_file(self, file, Py_ssize_t first, Py_ssize_t count) except -1

    @cython.locals(epg=Epg, at=Py_ssize_t)
    cdef Py_ssize_t file_offset(self, Py_ssize_t off) except? -1

    @cython.locals(head=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t run_length(self, Py_ssize_t off, Py_ssize_t count) except -1

    @cython.locals(epg=Epg, count=Py_ssize_t)
    cdef Py_ssize_t page_bytes(self) except -1

    @cython.locals(frame=Memory, seen=Memory)
    cdef Memory window(self, Py_ssize_t page)
    cdef int release_window(self, Memory seen) except -1

    @cython.locals(seen=Memory)
    cdef page_view(self, Py_ssize_t page, Py_ssize_t start, Py_ssize_t count, bint fixed)

    @cython.locals(epg=Epg, found=list)
    cdef list views(self, Py_ssize_t off, Py_ssize_t count)

    @cython.locals(mine=Epg, its=Epg, pages=tuple)
    cdef int exchange_pages(self, Unmapped other, tuple pages) except -1

    @cython.locals(root=Unmapped)
    cdef Py_ssize_t bytes_per_user(self) noexcept

    @cython.locals(made=Unmapped)
    cdef Storage make_sharer(self)

    @cython.locals(root=Unmapped, sharer=Unmapped)
    cdef void ref(self, Item item, Storage made) noexcept
    cdef void add_user(self, Item item) noexcept

    @cython.locals(root=Unmapped)
    cdef void unref(self, Item item) noexcept
    cdef void remove_user(self, Item item) noexcept

    @cython.locals(root=Unmapped)
    cdef void detach_mbuf(self, Item item) noexcept

    @cython.locals(item=Item, owner=Item)
    cdef int on_release(self) except -1

    @cython.locals(owner=Item, last=Item, deferred=DeferredFree, kept=cython.bint)
    cdef int end(self, Item item) except -1

    @cython.locals(page=Item, frames=tuple)
    cdef int free_pages(self, Item owner) except -1


@cython.locals(made=Unmapped)
cdef Unmapped unmapped(Pages supply)
cdef int check_page_count(Py_ssize_t count, str what) except -1


@cython.locals(n=Py_ssize_t, frames=list)
cdef list alloc_frames(Pages supply, Py_ssize_t count, int how, deadline)


@cython.locals(page=Item)
cdef int free_frames(list frames) except -1
