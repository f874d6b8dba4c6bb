cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.packet.shape cimport Shape

cdef unsigned int M_EXT, M_FREED


@cython.final
cdef class Undo:
    cdef list _before
    cdef list _fresh
    cdef list _retired

    @cython.locals(n=Shape)
    cdef int _remember(self, Shape m) except -1
    cdef Py_ssize_t mbufs(self)
    cdef int replace(self, Shape m, Shape n) except -1
    cdef int fresh(self, Shape m) except -1
    cdef int retire(self, Shape m) except -1
    cdef int merge(self, Shape m, Shape n) except -1

    @cython.locals(n=Shape)
    cdef int commit(self) except -1

    @cython.locals(n=Shape)
    cdef int rollback(self) except -1

    @cython.locals(n=Shape)
    cdef int _readmit(self) except -1
