cimport cython


cdef class Records:
    cdef public object view
    cdef public long long when
    cdef public Py_ssize_t start
    cdef public Py_ssize_t captured
    cdef public long long length

    cpdef bint step(self) except -1


cdef class Listed(Records):
    cdef object _packets


cdef class Pcap(Records):
    cdef public str unit
    cdef public Py_ssize_t at
    cdef public Py_ssize_t need
    cdef public Py_ssize_t packets
    cdef public object linktype
    cdef const unsigned char[::1] _bytes
    cdef Py_ssize_t _size
    cdef long long _scale
    cdef Py_ssize_t _head
    cdef Py_ssize_t _longest
    cdef bint _big
    cdef object _unpack

    cpdef look(self, view)

    @cython.locals(
        start=Py_ssize_t,
        seconds=cython.longlong,
        fraction=cython.longlong,
        captured=Py_ssize_t,
        length=cython.longlong,
    )
    cpdef bint step(self) except -1

    cdef unsigned int _word(self, Py_ssize_t at) except? 0xFFFFFFFF
