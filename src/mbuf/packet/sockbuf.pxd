cimport cython

from mbuf.packet.marks cimport Marks
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.source cimport Source
from mbuf.vm.number cimport clip

cdef unsigned int M_EXT, M_EXTPG, M_FREED, M_NOFREE, M_NOTREADY, M_RDONLY, _KEPT
cdef int M_NOWAIT
cdef Py_ssize_t MCLBYTES, MLEN, MSIZE


cdef class SockBuf(Marks):
    cdef readonly Py_ssize_t mcnt
    cdef readonly Py_ssize_t ccnt
    cdef readonly Mbuf first
    cdef Mbuf _last

    @cython.locals(rest=Mbuf)
    cpdef append(self, Mbuf m, settle=*)

    @cython.locals(total=Py_ssize_t)
    cdef Py_ssize_t admit(self, Mbuf m) except -1

    @cython.locals(last=Mbuf, more=Py_ssize_t)
    cdef _add(self, Mbuf m)
    cdef bint _fits(self, Mbuf last, Mbuf m) except -1
    cdef int _charge(self, Mbuf m, Py_ssize_t sign) except -1

    @cython.locals(left=Py_ssize_t, m=Mbuf, rest=Mbuf)
    cpdef drop(self, n)

    @cython.locals(
        size=Py_ssize_t, left=Py_ssize_t, m=Mbuf, before=Mbuf, piece=Mbuf, head=Mbuf, rest=Mbuf, end=Mbuf,
        each=Mbuf,
    )
    cpdef Mbuf take(self, n)

    @cython.locals(source=Source, first=Mbuf, cc=Py_ssize_t, piece=Mbuf)
    cdef Mbuf _spare(self, Mbuf m, Py_ssize_t at, Py_ssize_t left)

    @cython.locals(n=Mbuf)
    cdef bint _begins(self, Mbuf m, Py_ssize_t at) except -1

    @cython.locals(rest=Py_ssize_t, whole=cython.bint)
    cdef Mbuf _cut(self, Mbuf m, Mbuf piece, Py_ssize_t left)

    @cython.locals(size=Py_ssize_t)
    cpdef bytes peek(self, n)

    cpdef list views(self, Py_ssize_t count, Py_ssize_t size)

    @cython.locals(m=Mbuf, rest=Mbuf)
    cpdef clear(self)

    @cython.locals(size=Py_ssize_t)
    cdef Py_ssize_t within(self, n, str verb) except -1
    cdef int gone(self, Py_ssize_t size) except -1


@cython.locals(views=list, left=Py_ssize_t)
cpdef list views_of(Mbuf m, Py_ssize_t count, Py_ssize_t size)
