from mbuf.uma.bucket cimport Bucket
from mbuf.uma.item cimport Item


cdef class Backend:
    cpdef take(self, Bucket bucket, Py_ssize_t count, int how, deadline)
    cdef Py_ssize_t batch(self, Py_ssize_t count) except -1
    cpdef claim(self, claim, Py_ssize_t count)
    cpdef give(self, Item item)
    cpdef Py_ssize_t drain(self) except -1
    cpdef close(self)
    cpdef int forked(self) except -1
    cpdef denied(self)
    cpdef wait_target(self, zone)
