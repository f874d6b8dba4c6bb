# The number of references to an object, not counting one for this call.
from cpython.object cimport PyObject


cdef extern from *:
    """
    #define mbuf_references(thing) Py_REFCNT(thing)
    """
    Py_ssize_t mbuf_references(PyObject *thing) noexcept
