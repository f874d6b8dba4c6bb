cimport cython

from mbuf.uma.bucket cimport Bucket
from mbuf.uma.cache cimport Cache
from mbuf.uma.item cimport Item
from mbuf.uma.tally cimport Tally
from mbuf.vm.probe cimport Probes


@cython.no_gc
cdef class Zone(Tally):
    cdef readonly object cpus
    cdef readonly bint caching
    cdef readonly bint closed
    cdef public int pressed
    cdef public tuple feeds
    cdef readonly Zone diverted
    cdef bint _limited
    cdef bint _reclaiming
    cdef Bucket _none
    cdef Cache _cache

    @cython.locals(item=Item)
    cpdef Item alloc(self, int how, deadline)
    cpdef int free(self, Item item) except -1
    cpdef receive(self, Item item)
    cpdef divert(self, Zone to)
    cdef Cache _here(self)

    @cython.locals(bucket=Bucket, fresh=cython.bint)
    cdef Item _alloc_dry(self, int how, deadline)

    @cython.locals(room=Py_ssize_t, bucket=Bucket, item=Item)
    cdef Bucket _fill(self, int how, deadline)

    @cython.locals(items=list, item=Item)
    cdef list _import(self, Py_ssize_t count, int how, deadline)

    @cython.locals(here=Cache)
    cdef _load(self, Bucket bucket, bint fresh)
    cdef Item _alloc_item(self, int how, deadline)

    @cython.locals(here=Cache)
    cdef int _free_full(self, Item item) except -1
    cdef int _give(self, Item item) except -1

    @cython.locals(bucket=Bucket)
    cdef _drain(self, list buckets)
    cpdef reclaim(self, request)
