cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.uma.item cimport send_home
from mbuf.vm.commit cimport check_latch, enter_commit, finish_drop, leave_commit, put, settle
from mbuf.vm.page cimport Window


@cython.no_gc
cdef class Cluster(Window):
    @cython.locals(storage=Storage)
    cdef int end(self) except -1

    @cython.locals(storage=Storage)
    cdef Storage take(self)
    cdef int let_go(self) except -1


@cython.locals(c=Cluster)
cdef Cluster cluster(Storage storage)
