cimport cython
from cpython.ref cimport PyObject

from mbuf.uma.item cimport ItemOwner, Item


cdef extern from *:
    """
    static inline PyObject *mbuf_slot(PyObject **slots, int n) { return slots[n]; }
    """
    # The reference that the slot owns becomes the caller's.
    Item mbuf_slot(PyObject **slots, int n)


@cython.final
@cython.no_gc
cdef class Bucket:
    cdef readonly int entries
    cdef readonly int cnt
    cdef Bucket next
    cdef Py_ssize_t charged
    cdef unsigned long thread
    cdef PyObject **slots

    @cython.locals(taken=Item, item=Item)
    cpdef Item pop(self)
    cdef void push(self, Item item) noexcept
    cdef void push_below_top(self, Item item) noexcept

    @cython.locals(n=cython.int, last=cython.int)
    cdef void reverse(self) noexcept

    @cython.locals(n=cython.int)
    cdef void set_zone(self, ItemOwner zone) noexcept

    @cython.locals(item=Item)
    cdef Item at(self, int n)

    @cython.locals(item=Item)
    cdef Item remove(self, int n)
