cimport cython

from mbuf.vm.arena cimport Run

cdef extern from *:
    int __builtin_ctzll(unsigned long long bits) nogil


@cython.no_gc
cdef class Slab(Run):
    cdef readonly int free
    cdef readonly int items
    cdef readonly unsigned long long bits
    cdef void *keg
    cdef void *list
    cdef void *before
    cdef void *behind

    cdef void begin(self, int items) noexcept

    @cython.locals(lowest=cython.int)
    cdef int lowest(self) noexcept

    @cython.locals(bit=cython.ulonglong)
    cdef void take(self, int index) noexcept

    @cython.locals(bit=cython.ulonglong)
    cdef bint give(self, Py_ssize_t index) noexcept


@cython.final
@cython.no_gc
cdef class Slabs:
    cdef readonly Py_ssize_t count
    cdef void *first

    cdef void add(self, Slab slab) noexcept
    cdef void remove(self, Slab slab) noexcept

    @cython.locals(held=cython.bint)
    cdef bint holds(self, Slab slab) noexcept
    cdef Slab head(self)

    @cython.locals(found=Slab)
    cdef Slab after(self, Slab slab)
