# The number of references to an object, not counting one for this call; and the hash of its identity.
from cpython.object cimport PyObject


cdef extern from *:
    """
    #define mbuf_references(thing) Py_REFCNT(thing)
    #define mbuf_identity_hash(thing) PyBaseObject_Type.tp_hash(thing)
    """
    Py_ssize_t mbuf_references(PyObject *thing) noexcept
    Py_hash_t mbuf_identity_hash(object thing) noexcept
