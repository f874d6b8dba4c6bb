cimport cython

from mbuf.packet.epg cimport Epg, blank
from mbuf.packet.ext cimport Storage, untag
from mbuf.packet.deferred_free cimport DeferredFree
from mbuf.uma.item cimport Home, Item, send_home
from mbuf.uma.pages cimport Pages
from mbuf.vm.commit cimport enter_commit, leave_commit, put, settle
from mbuf.vm.page cimport Memory, pane

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
    cdef bint emptied

    cdef int begin(self, Pages supply) except -1
    cdef int _bare(self) except -1
    cdef Unmapped whole(self)

    @cython.locals(root=Unmapped)
    cdef Unmapped kept(self)
    cdef int call_on_free(self, free, arg1, show) except -1

    @cython.locals(epg=Epg)
    cdef int add_frames(self, tuple frames) except -1
    cdef int hold_file(self, file, Py_ssize_t first, Py_ssize_t count) except -1

    @cython.locals(epg=Epg, at=Py_ssize_t)
    cdef Py_ssize_t in_file(self, Py_ssize_t off) except? -1

    @cython.locals(head=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t to_go(self, Py_ssize_t off, Py_ssize_t count) except -1

    @cython.locals(epg=Epg, count=Py_ssize_t)
    cdef Py_ssize_t in_pages(self) except -1

    @cython.locals(frame=Memory, seen=Memory)
    cdef Memory window(self, Py_ssize_t page)
    cdef int leave(self, Memory seen) except -1

    @cython.locals(seen=Memory)
    cdef look(self, Py_ssize_t page, Py_ssize_t start, Py_ssize_t count, bint fixed)

    @cython.locals(epg=Epg, found=list)
    cdef list views(self, Py_ssize_t off, Py_ssize_t count)

    @cython.locals(mine=Epg, its=Epg, pages=tuple)
    cdef int trade(self, Unmapped other, tuple pages) except -1

    @cython.locals(made=Unmapped)
    cdef Storage make_sharer(self)

    @cython.locals(sharer=Unmapped)
    cdef bint fits_sharer(self, made) noexcept

    @cython.locals(root=Unmapped, sharer=Unmapped)
    cdef void join(self, Item item, Storage made) noexcept
    cdef void take(self, Item item) noexcept

    @cython.locals(root=Unmapped)
    cdef void unref(self, Item item) noexcept
    cdef void release_pages(self, Item item) noexcept

    @cython.locals(root=Unmapped)
    cdef void leave_mbuf(self, Item item) noexcept

    @cython.locals(item=Item, owner=Item)
    cdef int let_go(self) except -1

    @cython.locals(owner=Item, last=Item, remains=DeferredFree, kept=cython.bint)
    cdef int end(self, Item item) except -1

    @cython.locals(page=Item, frames=tuple)
    cdef int empty(self, Item owner) except -1


@cython.locals(made=Unmapped)
cdef Unmapped unmapped(Pages supply)
cdef int few_enough(Py_ssize_t count, str what) except -1


@cython.locals(n=Py_ssize_t, frames=list)
cdef list take_frames(Pages supply, Py_ssize_t count, int how, deadline)


@cython.locals(page=Item)
cdef int give_frames(list frames) except -1
