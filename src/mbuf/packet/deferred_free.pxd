cimport cython

from mbuf.uma.item cimport Item, send_home
from mbuf.vm.commit cimport Releasable, check_latch, enter_commit, finish_drop, leave_commit, put, settle


@cython.no_gc
cdef class DeferredFree(Releasable):
    cdef Item item

    @cython.locals(item=Item)
    cdef int let_go(self) except -1
