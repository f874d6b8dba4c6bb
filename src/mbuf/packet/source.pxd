cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.uma.item cimport Item
from mbuf.vm.number cimport clip

cdef int M_NOWAIT, M_WAITOK, MT_DATA
cdef unsigned int M_PKTHDR


cdef class Source:
    cdef readonly Py_ssize_t max_linkhdr
    cdef readonly Py_ssize_t max_protohdr
    cdef public object tags

    cpdef Chain get(self, how=*, object type=*, timeout=*)
    cpdef Chain get_row(self, n, how=*, object type=*, timeout=*)
    cpdef Chain gethdr(self, how=*, object type=*, timeout=*)
    cpdef Chain getcl(self, how=*, object type=*, flags=*, timeout=*)
    cpdef Chain alloc_ext_pgs(self, how=*, free=*, arg1=*, timeout=*)
    cpdef Chain alloc_ext_plus_pages(self, len, how=*, timeout=*)
    cpdef dropped(self, Item item)


cdef Source origin(Chain m)


@cython.locals(near=Py_ssize_t)
cpdef Py_ssize_t how_of(how) except -1
cpdef until(how, timeout)
cpdef left(deadline)
