cimport cython

from mbuf.vm.arena cimport Run

cdef extern from *:
    int __builtin_ctzll(unsigned long long bits) nogil


@cython.no_gc
cdef class Slab(Run):
    cdef readonly unsigned long long bits
    cdef void *keg
    cdef void *prev
    cdef void *next
    cdef readonly unsigned char free
    cdef readonly unsigned char items
    cdef unsigned char list


cdef void init_slab(Slab slab, int items) noexcept


@cython.locals(lowest=cython.int)
cdef int lowest_free(Slab slab) noexcept


@cython.locals(bit=cython.ulonglong)
cdef void set_used(Slab slab, int index) noexcept


@cython.locals(bit=cython.ulonglong)
cdef bint set_free(Slab slab, Py_ssize_t index) noexcept


@cython.final
@cython.no_gc
cdef class Slabs:
    cdef readonly Py_ssize_t count
    cdef unsigned char id
    cdef void *first

    cdef void add(self, Slab slab) noexcept
    cdef void remove(self, Slab slab) noexcept

    cdef bint holds(self, Slab slab) noexcept
    cdef Slab head(self)

    @cython.locals(found=Slab)
    cdef Slab next(self, Slab slab)
