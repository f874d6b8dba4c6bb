cimport cython

from mbuf.uma.item cimport Item, free_item
from mbuf.vm.commit cimport (
    Releasable,
    check_latch,
    enter_commit,
    run_releases_unraisable,
    leave_commit,
    release_later,
    run_releases,
)


@cython.no_gc
cdef class DeferredFree(Releasable):
    cdef Item item

    @cython.locals(item=Item)
    cdef int on_release(self) except -1
