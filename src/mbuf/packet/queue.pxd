cimport cython

from mbuf.packet.mbuf cimport Mbuf

cdef unsigned int M_FREED


cdef class MbufQ:
    cdef readonly Mbuf first
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t maxlen
    cdef Mbuf _last

    @cython.locals(last=Mbuf)
    cpdef enqueue(self, Mbuf m)
    cpdef prepend(self, Mbuf m)

    @cython.locals(m=Mbuf)
    cpdef Mbuf dequeue(self)

    @cython.locals(m=Mbuf)
    cpdef drain(self)

    @cython.locals(m=Mbuf)
    cpdef Mbuf flush(self)

    @cython.locals(last=Mbuf)
    cpdef concat(self, MbufQ other)

    cdef int _unlisted(self, Mbuf m) except -1

    @cython.locals(m=Mbuf)
    cdef list _packets(self)

    @cython.locals(packets=list)
    cdef Mbuf _end(self)
