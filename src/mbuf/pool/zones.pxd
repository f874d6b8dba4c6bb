cimport cython

from mbuf.uma.zone cimport Zone
from mbuf.vm.ints cimport integer


@cython.final
cdef class Zones:
    cdef readonly Zone mbuf
    cdef readonly Zone pack
    cdef readonly Zone clust
    cdef readonly Zone jumbop
    cdef readonly tuple clusters
    cdef dict _by_size

    @cython.locals(zone=Zone)
    cpdef Zone of_size(self, size)
