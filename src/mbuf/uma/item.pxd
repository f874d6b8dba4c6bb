cimport cython

from mbuf.vm.page cimport Memory


cdef class Item(Memory):
    cdef Home home
    cdef object handle
    cdef object mate

    cpdef release(self)
    cpdef unwatched(self)


cdef class Home:
    cdef public int held

    cpdef free(self, Item item)


cdef class Backend:
    pass


cpdef bint unheld(Item item)
