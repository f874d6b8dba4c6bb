cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.packet.segment cimport Segment
from mbuf.uma.item cimport Home, Item
from mbuf.vm.loan cimport Loan
from mbuf.vm.number cimport clip

cdef unsigned int M_FREED


cdef class RefCount:
    cdef readonly unsigned int count


@cython.no_gc
@cython.final
cdef class External(Storage):
    cdef object _stand_in
    cdef readonly object obj
    cdef public object free
    cdef public object arg1
    cdef public object arg2
    cdef RefCount refs
    cdef Py_ssize_t extent
    cdef Py_ssize_t uses
    cdef bint over

    cdef int _part(self) except -1

    @cython.locals(owner=Item, m=Segment)
    cdef int _end(self, Item item) except -1
    cdef detach(self, Item item)
