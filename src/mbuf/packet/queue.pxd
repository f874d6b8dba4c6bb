cimport cython

from mbuf.packet.mbuf cimport Mbuf


cdef class MbufQ:
    cdef readonly Mbuf first
    cdef readonly Py_ssize_t count
    cdef Mbuf _last

    cpdef enqueue(self, Mbuf m)

    @cython.locals(m=Mbuf)
    cpdef Mbuf dequeue(self)
