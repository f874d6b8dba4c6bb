cimport cython
from cpython.buffer cimport Py_buffer
from cpython.object cimport PyObject

from mbuf.vm.ints cimport kind_of
from mbuf.vm.references cimport mbuf_references


cdef extern from "Python.h":
    int PyObject_CheckBuffer(object obj) noexcept
    # Not that of Cython, which raises the error.
    int PyObject_GetBuffer(object obj, Py_buffer *view, int flags) noexcept
    void PyErr_Clear() noexcept


cdef int _refuse(obj) except -1


@cython.final
@cython.no_gc
cdef class BufferExport:
    cdef unsigned char *ptr
    cdef Py_buffer _export
    cdef readonly object obj
    cdef readonly Py_ssize_t size
    cdef readonly bint fixed

    cdef int take(self, obj) except -1
    cpdef release(self)


@cython.final
@cython.no_gc
cdef class Spare:
    cdef BufferExport export

    @cython.locals(export=BufferExport)
    cdef BufferExport take(self)


cdef Spare SPARE


cdef inline bint has_buffer(obj) noexcept:
    return PyObject_CheckBuffer(obj)


@cython.locals(made=BufferExport, export=BufferExport)
cpdef BufferExport export_buffer(obj)

cdef inline Py_ssize_t references(BufferExport export) noexcept:
    return mbuf_references(<PyObject *>export)
