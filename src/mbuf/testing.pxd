cimport cython

from mbuf.packet.segment cimport Segment


@cython.locals(count=Py_ssize_t, most=Py_ssize_t)
cpdef put(Segment m, Py_ssize_t off, bytes data)


@cython.locals(most=Py_ssize_t)
cpdef aim(Segment m, Py_ssize_t off, Py_ssize_t count)


cpdef identity(Segment m)
