cimport cython

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
    cdef Format last_at(self, Py_ssize_t slot)


cdef Formats FORMATS


cdef inline Py_ssize_t slot_of(object text) noexcept:
    return (<size_t><void *>text >> 4) & (_SLOTS - 1)


cdef inline Format format_of(object text):
    cdef Format found = FORMATS.last_at(slot_of(text))
    if found is not None and found.text is text:
        return found
    return FORMATS.find(text)
