# How many references there are to an object, without one more for the time of the call.
from cpython.object cimport PyObject


cdef extern from *:
    """
    #define mbuf_references(thing) Py_REFCNT(thing)
    """
    Py_ssize_t mbuf_references(PyObject *thing) noexcept
