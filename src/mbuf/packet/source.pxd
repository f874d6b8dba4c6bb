cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.uma.item cimport ItemOwner, Item
from mbuf.vm.ints cimport clip, integer

cdef int M_NOWAIT, M_WAITOK


cdef class Source:
    cdef readonly Py_ssize_t max_linkhdr
    cdef readonly Py_ssize_t max_protohdr
    cdef public object tags

    cdef Chain get(self, int how, int type, unsigned int flags, deadline)
    cdef Chain get_row(self, Py_ssize_t n, int how, int type, deadline)
    cdef Chain getcl(self, int how, int type, unsigned int flags, deadline)
    cdef Chain alloc_ext_pgs(self, int how, free, arg1, deadline)
    cdef Chain alloc_ext_plus_pages(self, Py_ssize_t size, int how, deadline)
    cpdef dropped(self, Item item)


cpdef set_source(ItemOwner zone, Source source)
cdef int raise_closed() except -1


cdef inline Source source_of(Chain m):
    if m.item.zone.source is None:
        raise_closed()
    return <Source> m.item.zone.source


@cython.locals(number=Py_ssize_t)
cpdef Py_ssize_t check_how(how) except -1
cpdef until(how, timeout)
cpdef seconds_left(deadline)
