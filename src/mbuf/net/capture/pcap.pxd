cimport cython


cdef class Records:
    cdef public object view
    cdef public long long timestamp
    cdef public Py_ssize_t start
    cdef public Py_ssize_t captured
    cdef public long long length

    cpdef bint step(self) except -1


cdef class IterableRecords(Records):
    cdef object _packets


cdef class Pcap(Records):
    cdef public str element
    cdef public Py_ssize_t offset
    cdef public Py_ssize_t needed
    cdef public Py_ssize_t packets
    cdef public object linktype
    cdef const unsigned char[::1] _bytes
    cdef Py_ssize_t _size
    cdef long long _scale
    cdef Py_ssize_t _record_header_len
    cdef Py_ssize_t _max_captured
    cdef bint _big_endian
    cdef object _unpack

    cpdef set_view(self, view)

    @cython.locals(
        start=Py_ssize_t,
        seconds=cython.longlong,
        fraction=cython.longlong,
        captured=Py_ssize_t,
        length=cython.longlong,
    )
    cpdef bint step(self) except -1

    cdef unsigned int _u32(self, Py_ssize_t at) except? 0xFFFFFFFF
