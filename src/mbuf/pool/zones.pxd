cimport cython

from mbuf.uma.zone cimport Zone
from mbuf.vm.ints cimport clip


@cython.final
cdef class Zones:
    cdef readonly Zone mbuf
    cdef readonly Zone pack
    cdef readonly Zone clust
    cdef readonly Zone jumbop
    cdef readonly Zone jumbo9
    cdef readonly Zone jumbo16

    @cython.locals(near=Py_ssize_t)
    cpdef Zone of_size(self, size)
