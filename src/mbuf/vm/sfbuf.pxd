cimport cython

from mbuf.vm.commit cimport enter_commit, leave_commit
from mbuf.vm.page cimport Memory

cdef Py_ssize_t PAGE_SIZE


@cython.no_gc
@cython.final
cdef class SfBuf(Memory):
    cdef readonly object file
    cdef readonly Py_ssize_t index
    cdef Py_ssize_t users
    cdef size_t owner
    cdef SfBuf prev, next
    cdef tuple key

    @cython.locals(offset=Py_ssize_t, size=Py_ssize_t)
    cdef int map(self, object file, Py_ssize_t index) except -1


cdef class SfBufs:
    cdef readonly Py_ssize_t most, peak, in_use
    cdef readonly unsigned long long fails
    cdef dict _windows
    cdef size_t _number
    cdef SfBuf _first, _last

    @cython.locals(key=tuple, sf=SfBuf, fresh=SfBuf, evicted=SfBuf, full=cython.bint)
    cpdef SfBuf alloc(self, file, index)
    cdef void _insert(self, SfBuf sf) noexcept
    cdef void _use(self, SfBuf sf) noexcept
    cdef void _link(self, SfBuf sf) noexcept
    cdef void _unlink(self, SfBuf sf) noexcept

    @cython.locals(sf=SfBuf)
    cdef SfBuf _evict(self)
    cdef int _drop(self, SfBuf sf) except -1

    @cython.locals(good=cython.bint)
    cpdef int free(self, SfBuf window) except -1
    cdef bint unref(self, SfBuf window) noexcept

    @cython.locals(sf=SfBuf)
    cpdef int forget(self, file) except -1

    @cython.locals(sf=SfBuf, at=SfBuf, used=Py_ssize_t, spare=Py_ssize_t)
    cdef str _contradiction(self)


cdef bint _has_views(SfBuf sf)
cdef bint _is_unused_with_views(SfBuf sf)
