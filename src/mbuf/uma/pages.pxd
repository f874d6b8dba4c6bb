cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.budget cimport Budget
from mbuf.uma.claim cimport Claim
from mbuf.uma.item cimport ItemOwner, Item
from mbuf.uma.keg cimport Keg
from mbuf.vm.poison cimport unpoison

cdef int M_NOWAIT, M_WAITOK
cdef Py_ssize_t PAGE_SIZE


@cython.no_gc
cdef class Pages(ItemOwner):
    cdef readonly Keg keg

    @cython.locals(page=Item, bucket=Bucket)
    cpdef Item alloc(self, int how, deadline)

    @cython.locals(
        budget=Budget, claim=Claim, seq=cython.ulonglong, after=cython.longlong, seen=cython.longlong
    )
    cdef _wait(self, Bucket bucket, deadline)

    @cython.locals(keg=Keg)
    cpdef int free(self, Item page) except -1
    cpdef close(self)
