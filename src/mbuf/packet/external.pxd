cimport cython

from mbuf.packet.ext cimport Storage, free_tags
from mbuf.uma.item cimport ItemOwner, Item, free_item
from mbuf.vm.commit cimport enter_commit, leave_commit, release_later
from mbuf.vm.buffer_export cimport BufferExport
from mbuf.vm.ints cimport integer

cdef unsigned int _MAX_USES
cdef int EXT_EXTREF, EXT_NET_DRV, EXT_RXRING, EXT_SFBUF


@cython.final
cdef class RefCount:
    # More than 32 bits: a commit that counts several users at once can't overflow it.
    cdef unsigned long long uses


@cython.no_gc
cdef class External(Storage):
    cdef object obj
    cdef tuple free_cb
    cdef RefCount refs
    cdef Py_ssize_t extent
    cdef Py_ssize_t uses
    cdef bint released

    cdef Py_ssize_t bytes_per_user(self) noexcept
    cdef int check_refs(self) except -1
    cdef void attached(self) noexcept
    cdef int set_free_cb(self, free, arg1, arg2, call) except -1

    cdef int _end_calling(self, Item item, Item owner) except -1
    cdef int _drop_references(self) except -1
    cdef int _release_buffer(self) except -1
    cdef int check_detach(self, Item item) except -1

    @cython.locals(owner=Item)
    cdef void detach(self, Item item) noexcept


@cython.locals(made=External)
cdef External external(BufferExport of, int type, RefCount refs)
cdef bint freeable(Py_ssize_t type) noexcept
