cimport cython

from mbuf.uma.item cimport Home, Item

cdef int EXT_PACKET


cdef class Storage(Item):
    cdef Item owner
    cdef unsigned int users
    cdef unsigned char type

    cpdef own(self, Item owner, int type)
    @cython.locals(owner=Item)
    cpdef drop(self, Item item)
    cdef _packet_home(self, Item owner)
    @cython.locals(owner=Item)
    cpdef unwatched(self)
