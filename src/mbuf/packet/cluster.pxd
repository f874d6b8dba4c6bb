cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.vm.page cimport Window


@cython.final
@cython.no_gc
cdef class Cluster(Window):
    @cython.locals(storage=Storage)
    cpdef free(self)

    @cython.locals(storage=Storage)
    cdef Storage take(self)


@cython.locals(c=Cluster)
cpdef Cluster cluster(Storage storage)
