cimport cython


cdef class Consumer:
    cpdef long long due(self, long long now, Py_ssize_t mbufs=*) except -1


cdef class Hold(Consumer):
    cdef long long _span
    cdef long long _step
    cdef readonly object _missed
    cdef long long _count


cdef class Drain(Consumer):
    cdef long long _interval
    cdef long long _busy_until
    cdef long long _backlog
    cdef long long _largest
