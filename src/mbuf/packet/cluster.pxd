cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.uma.item cimport free_item
from mbuf.vm.commit cimport (
    check_latch,
    enter_commit,
    run_releases_unraisable,
    leave_commit,
    release_later,
    run_releases,
)
from mbuf.vm.page cimport Exporter


@cython.no_gc
cdef class Cluster(Exporter):
    @cython.locals(storage=Storage)
    cdef int end(self) except -1

    @cython.locals(storage=Storage)
    cdef Storage take(self)
    cdef int on_release(self) except -1


@cython.locals(c=Cluster)
cdef Cluster cluster(Storage storage)
