cdef class Probes:
    cdef readonly bint on
    cdef dict _listeners
    cdef set _busy
