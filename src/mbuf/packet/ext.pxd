cimport cython

from mbuf.uma.item cimport Home, Item

cdef int EXT_CLUSTER, EXT_JUMBOP, EXT_JUMBO9, EXT_JUMBO16, EXT_PACKET
cdef Py_ssize_t MCLBYTES, MJUMPAGESIZE, MJUM9BYTES


@cython.no_gc
cdef class Storage(Item):
    cdef Item owner
    cdef object tags
    cdef unsigned int users
    cdef unsigned char type

    cdef void own(self) noexcept
    cdef void pair(self) noexcept
    cdef Py_ssize_t counted(self)
    cdef bint sole(self)
    cdef tell(self, Item item)
    cdef bint lingers(self, Item item)
    cdef Storage share(self, Item item)
    cdef Py_ssize_t ext_size(self)
    cdef Py_ssize_t bound(self) except -1
    cdef Py_ssize_t frags(self) except -1
    cdef object counter(self)

    @cython.locals(owner=Item)
    cdef int _parted(self, Item item) except -1

    @cython.locals(owner=Item)
    cdef int later(self, Item item) except -1
    cdef int untag(self) except -1
    cdef int drop(self, Item item) except -1
    cdef int end(self, Item item) except -1
    cdef int unwatched(self) except -1
