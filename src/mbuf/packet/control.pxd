cimport cython


@cython.final
cdef class Control:
    cdef readonly str local
    cdef readonly unsigned int interface
    cdef readonly object tos
    cdef readonly object ttl
    cdef readonly bint received
    cdef bytes _in
    cdef bytes _in6


@cython.locals(control=Control)
cpdef Control received_control(bytes key)
cpdef bytes control_messages(Control control, bint ipv6, bint received)
