cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.packet.shape cimport Shape, free_all

cdef unsigned int M_COPYFLAGS, M_EXT, M_EXTPG, M_PKTHDR, M_RDONLY
cdef int MT_DATA
cdef Py_ssize_t MCLBYTES


@cython.final
cdef class Portion:
    cdef Py_ssize_t after
    cdef Py_ssize_t at
    cdef Shape base
    cdef Py_ssize_t count
    cdef Py_ssize_t frags
    cdef Py_ssize_t order
    cdef list parts


@cython.final
cdef class Recipe:
    cdef dict _gone
    cdef list _old
    cdef list _portions
    cdef Py_ssize_t _first
    cdef Py_ssize_t _last
    cdef Py_ssize_t _count
    cdef bint _loosened
    cdef Py_ssize_t _total
    cdef list wants

    @cython.locals(m=Shape)
    cdef int begin(self, Shape head) except -1

    @cython.locals(enough=cython.bint, before=Portion, p=Portion)
    cdef bint collapse(self, Py_ssize_t most) except -1

    @cython.locals(whole=cython.bint, n=Portion)
    cdef bint _merge(self, Portion p, Py_ssize_t most) except -1

    @cython.locals(n=Portion, second=Portion)
    cdef Portion _pair(self, Portion before)

    @cython.locals(n=Portion)
    cdef int _join(self, Portion p) except -1

    @cython.locals(last=Portion, p=Portion, m=Shape, stays=cython.bint)
    cdef int unshare(self) except -1

    @cython.locals(flags=cython.uint, pieces=Py_ssize_t, i=Py_ssize_t, p=Portion)
    cdef int _copies(self, Shape m) except -1

    @cython.locals(p=Portion)
    cdef Portion _portion(self, Shape base, Py_ssize_t order)

    @cython.locals(p=Portion)
    cdef Portion _want(self, int kind, unsigned int flags)

    @cython.locals(last=Portion)
    cdef int _add_last(self, Portion p) except -1
    cdef int _add(self, Portion p, Portion n) except -1

    @cython.locals(storage=Storage, gone=Py_ssize_t)
    cdef int _retire(self, Shape m) except -1
    cdef bint _external(self, Portion p) except -1

    @cython.locals(m=Shape, storage=Storage)
    cdef bint _writable(self, Portion p) except -1

    @cython.locals(m=Shape)
    cdef Py_ssize_t _space(self, Portion p) except -1

    @cython.locals(appended=list, p=Portion, m=Shape)
    cdef int cook(self, list stash) except -1

    @cython.locals(portions=list, at=Py_ssize_t, p=Portion)
    cdef list _all(self)

    @cython.locals(total=Py_ssize_t, m=Shape, p=Portion)
    cdef int _same(self) except -1

    @cython.locals(src=Shape, skip=Py_ssize_t, count=Py_ssize_t)
    cdef int _fill(self, Shape m, Portion p) except -1

    @cython.locals(src=Shape, pieces=list, skip=Py_ssize_t, count=Py_ssize_t)
    cdef bytes _bytes(self, Portion p)

    @cython.locals(head=Shape, first=Shape, last=Shape, m=Shape, chain=list, p=Portion)
    cdef list _link(self, list stash)


@cython.locals(r=Recipe)
cpdef Recipe recipe(Shape head)
