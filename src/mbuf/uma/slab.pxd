cimport cython

from mbuf.vm.arena cimport Run

cdef extern from *:
    int __builtin_ctzll(unsigned long long bits) nogil


@cython.no_gc
cdef class Slab(Run):
    cdef readonly unsigned long long bits
    cdef void *keg
    cdef void *before
    cdef void *behind
    cdef readonly unsigned char free
    cdef readonly unsigned char items
    cdef unsigned char list


cdef void begin_slab(Slab slab, int items) noexcept


@cython.locals(lowest=cython.int)
cdef int lowest_free(Slab slab) noexcept


@cython.locals(bit=cython.ulonglong)
cdef void take_place(Slab slab, int index) noexcept


@cython.locals(bit=cython.ulonglong)
cdef bint give_place(Slab slab, Py_ssize_t index) noexcept


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
    cdef Slab after(self, Slab slab)
