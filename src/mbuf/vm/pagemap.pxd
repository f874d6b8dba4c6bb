cimport cython
from cpython.ref cimport PyObject

from mbuf.vm.arena cimport Arena, Run
from mbuf.vm.commit cimport enter_commit, leave_commit

cdef Py_ssize_t ARENA_PAGES, PAGE_SIZE, _GROW
cdef int _FREE, _GIVEN, _USED


@cython.final
@cython.no_gc
cdef class Area:
    cdef Arena arena
    cdef unsigned char *states
    cdef Py_ssize_t pages, free, low, high

    @cython.locals(at=Py_ssize_t, run=Py_ssize_t)
    cdef Py_ssize_t find(self, Py_ssize_t count) noexcept
    cdef void mark(self, Py_ssize_t at, Py_ssize_t count, int state) noexcept

    @cython.locals(n=Py_ssize_t)
    cdef bint has(self, Py_ssize_t at, Py_ssize_t count, int state) noexcept

    @cython.locals(at=Py_ssize_t, end=Py_ssize_t, freed=Py_ssize_t)
    cdef Py_ssize_t sweep(self) noexcept

    @cython.locals(at=Py_ssize_t, run=Py_ssize_t, best=Py_ssize_t)
    cdef Py_ssize_t longest(self) noexcept

    @cython.locals(at=Py_ssize_t, run=Py_ssize_t, runs=Py_ssize_t)
    cdef Py_ssize_t runs(self, Py_ssize_t count) noexcept


@cython.final
@cython.no_gc
cdef class PageMap:
    cdef readonly Py_ssize_t pages, used, peak
    cdef readonly unsigned long long fails, fragmented, sweeps
    cdef PyObject **_areas
    cdef Py_ssize_t _count, _first, _low, _high

    @cython.locals(page=Py_ssize_t)
    cdef Py_ssize_t take(self, Py_ssize_t count) except -2

    @cython.locals(area=Area)
    cdef void _track(self, Py_ssize_t page, Py_ssize_t count) noexcept

    @cython.locals(index=Py_ssize_t, at=Py_ssize_t, page=Py_ssize_t, area=Area)
    cdef Py_ssize_t _take(self, Py_ssize_t count) noexcept
    cdef void _failed(self, Py_ssize_t count) noexcept

    @cython.locals(index=Py_ssize_t, pages=Py_ssize_t, area=Area)
    cdef bint _grow(self) except -1
    cdef bint _append(self, Area area) noexcept

    @cython.locals(index=Py_ssize_t, at=Py_ssize_t, area=Area)
    cdef bint give(self, Py_ssize_t page, Py_ssize_t count) noexcept

    @cython.locals(index=Py_ssize_t, area=Area)
    cdef void sweep(self) noexcept

    @cython.locals(area=Area)
    cdef void set_run(self, Run run, Py_ssize_t page, int count) noexcept

    @cython.locals(area=Area, arena=Arena)
    cdef Arena arena(self, Py_ssize_t page)

    @cython.locals(index=Py_ssize_t, best=Py_ssize_t, area=Area)
    cdef Py_ssize_t longest(self) noexcept

    @cython.locals(index=Py_ssize_t, at=Py_ssize_t, n=Py_ssize_t, area=Area, whole=bytearray)
    cpdef bytearray snapshot(self)

    @cython.locals(index=Py_ssize_t, left=Py_ssize_t, found=Py_ssize_t, area=Area)
    cdef Py_ssize_t runs(self, Py_ssize_t count) noexcept

    @cython.locals(index=Py_ssize_t, at=Py_ssize_t, used=Py_ssize_t, area=Area, free=Py_ssize_t)
    cdef str contradiction(self)

    @cython.locals(area=Area, held=cython.bint)
    cdef bint holds(self, Py_ssize_t page, Py_ssize_t count) noexcept
