cimport cython
from cpython.list cimport PyList_GET_ITEM

cdef Py_ssize_t _MAX, _SLOTS


@cython.final
cdef class Format:
    cdef Py_ssize_t size
    cdef object text
    cdef object unpack


@cython.final
cdef class Formats:
    cdef dict _known
    cdef list _recent

    @cython.locals(found=Format)
    cdef Format find(self, text)


cdef Formats FORMATS


cdef inline Py_ssize_t slot_of(object text) noexcept:
    return (<size_t><void *>text >> 4) & (_SLOTS - 1)


cdef inline Format format_of(object text):
    cdef Format found = <Format>PyList_GET_ITEM(FORMATS._recent, slot_of(text))
    if found is not None and found.text is text:
        return found
    return FORMATS.find(text)
