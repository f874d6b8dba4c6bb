cimport cython

from mbuf.vm.commit cimport (
    Releasable,
    check_latch,
    enter_commit,
    run_releases_unraisable,
    leave_commit,
    release_later,
    run_releases,
)
from mbuf.vm.ints cimport integer

cdef int M_NOWAIT, M_WAITOK
cdef Py_ssize_t MTAG_PERSISTENT


cdef class TagZone:
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t bytes

    @cython.locals(t=Tag, number=Py_ssize_t, id=Py_ssize_t, wait=Py_ssize_t, count=Py_ssize_t)
    cpdef Tag alloc(self, cookie, object type, value=*, how=*, free=*)


cdef class Tag(Releasable):
    cdef object content
    cdef readonly Py_ssize_t cookie
    cdef readonly Py_ssize_t id
    cdef object list
    cdef object routine
    cdef Py_ssize_t size
    cdef TagZone zone
    cdef Tag before
    cdef Tag after

    @cython.locals(zone=TagZone)
    cdef int on_release(self) except -1
    cdef TagZone live(self)
    cdef freed(self)

    @cython.locals(zone=TagZone)
    cpdef Tag copy(self, how=*)


cdef class TagList(Releasable):
    cdef readonly Py_ssize_t count
    cdef Tag first
    cdef object mark
    cdef readonly Py_ssize_t stamp

    @cython.locals(first=Tag)
    cdef int _put_first(self, Tag t) except -1

    @cython.locals(before=Tag, after=Tag)
    cdef void _take_out(self, Tag t) noexcept

    cpdef delete_chain(self, t=*)

    @cython.locals(t=Tag, id=object, number=object)
    cpdef Tag locate(self, cookie, object type, after=*)

    @cython.locals(t=Tag, copies=list, tags=TagList)
    cpdef TagList copy(self, how=*)
    cdef int on_release(self) except -1

    @cython.locals(first=Tag, t=Tag, after=Tag)
    cdef void release(self) noexcept

    @cython.locals(t=Tag)
    cdef int _delete(self, list tags) except -1
    cdef int _listed(self, t) except -1
    cdef int _check_mine(self, Tag t) except -1


cdef void _end(Tag t) noexcept
cdef list _chain(Tag t)
cdef Py_ssize_t _bytes_of(value)
