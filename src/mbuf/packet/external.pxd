cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.uma.item cimport Home, Item
from mbuf.vm.loan cimport Loan
from mbuf.vm.number cimport clip

cdef unsigned int _MOST
cdef int EXT_EXTREF, EXT_NET_DRV, EXT_RXRING, EXT_SFBUF


cdef class RefCount:
    cdef unsigned int uses


@cython.no_gc
@cython.final
cdef class External(Storage):
    cdef readonly object obj
    cdef tuple told
    cdef RefCount refs
    cdef Py_ssize_t extent
    cdef Py_ssize_t uses
    cdef bint over

    cdef int begin(self, Loan of, int type, RefCount refs) except -1
    cdef int tell_owner(self, free, arg1, arg2, show) except -1
    cdef int forget(self) except -1
    cdef int _count(self, RefCount refs) except -1
    cdef int _leave(self) except -1
    cdef int _part(self) except -1

    @cython.locals(owner=Item)
    cdef int _end(self, Item item) except -1
    cdef detach(self, Item item)


@cython.locals(made=External)
cpdef External external(Loan of, int type, RefCount refs)
cpdef bint freeable(Py_ssize_t type) noexcept
