cimport cython

from mbuf.vm.ints cimport count, integer

cdef Py_ssize_t WASTE


cdef class Watermarks:
    cdef readonly Py_ssize_t hiwat
    cdef readonly Py_ssize_t lowat
    cdef Py_ssize_t _mbmax
    cdef readonly Py_ssize_t cc
    cdef readonly Py_ssize_t mbcnt
    cdef readonly bint full
    cdef public object pause
    cdef public object resume
    cdef list _waiting

    cpdef check_full(self)

    @cython.locals(share=Py_ssize_t, rest=Py_ssize_t)
    cdef check_drained(self)
