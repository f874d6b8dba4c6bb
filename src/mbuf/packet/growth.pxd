cimport cython

from mbuf.packet.copy cimport Copy
from mbuf.packet.parts cimport Parts
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.packet.shape cimport Shape, free_chain
from mbuf.packet.source cimport Source, until
from mbuf.vm.number cimport clip, count

cdef unsigned int M_EXTPG, M_FREED, M_PKTHDR
cdef int M_NOWAIT
cdef Py_ssize_t MCLBYTES, MHLEN, MLEN
cdef bytes ZEROS


@cython.no_gc
cdef class Growth(Parts):
    cdef int push(self, Py_ssize_t n, how, timeout) except -1

    @cython.locals(most=Py_ssize_t, m=Copy)
    cdef int _prepend(self, Py_ssize_t n, how, timeout) except -1
    cdef int follow_in(self, Copy m) except -1

    @cython.locals(space=Py_ssize_t, size=Py_ssize_t, last=Growth, more=Copy)
    cpdef Growth append(self, data)

    @cython.locals(gap=Py_ssize_t, piece=Py_ssize_t, first=Copy, last=Copy, m=Copy, source=Source)
    cdef Copy plain(self, int kind, Py_ssize_t zeros, data, Py_ssize_t at, Py_ssize_t size)

    @cython.locals(
        skip=Py_ssize_t, size=Py_ssize_t, before=Py_ssize_t, zeros=Py_ssize_t, more=Py_ssize_t,
        there=Py_ssize_t, end=Py_ssize_t, m=Growth, last=Growth, rest=Copy,
    )
    cpdef Growth copyback(self, off, data)

    @cython.locals(done=Py_ssize_t, piece=Py_ssize_t, m=Copy)
    cdef Py_ssize_t overlap(self, Py_ssize_t skip, Py_ssize_t size) except -1

    @cython.locals(at=Py_ssize_t, piece=Py_ssize_t, m=Copy)
    cdef int overwrite(self, Py_ssize_t skip, data, Py_ssize_t size) except -1

    @cython.locals(at=Py_ssize_t, size=Py_ssize_t, m=Growth, hdr=PktHdr)
    cpdef makespace(self, skip, hlen)

    @cython.locals(rest=Py_ssize_t, top=Growth, m=Growth, last=Growth, after=Shape, source=Source)
    cdef part(self, Py_ssize_t at, Py_ssize_t size)

    @cython.locals(top=Growth, last=Growth, m=Growth, piece=Py_ssize_t)
    cdef Growth _tail_copy(self, Source source, Py_ssize_t at, Py_ssize_t rest)
