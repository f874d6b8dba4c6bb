cimport cython

from mbuf.vm.buffer_export cimport export_buffer
from mbuf.vm.ints cimport fold, swapped
from mbuf.vm.page cimport Memory


cdef extern from "string.h" nogil:
    void *memmem(const void *data, size_t count, const void *pattern, size_t size)

cdef bint _LITTLE


@cython.final
@cython.no_gc
cdef class Search:
    cdef bytes pattern
    cdef bytearray tail
    cdef Py_ssize_t seen

    cpdef Py_ssize_t feed(self, Memory memory, Py_ssize_t off, Py_ssize_t count) except -2
    cpdef Py_ssize_t rest(self) except -2


cdef new_bytes(Py_ssize_t size)
cdef int set_bytes(bytes whole, Py_ssize_t at, Memory memory, Py_ssize_t off, Py_ssize_t count) except -1
cpdef copy_out(Memory memory, Py_ssize_t off, Py_ssize_t count, target, Py_ssize_t at)
cpdef int compare(Memory memory, Py_ssize_t off, Memory other, Py_ssize_t start, Py_ssize_t count) except -2
cpdef int compare_bytes(
    Memory memory, Py_ssize_t off, bytes data, Py_ssize_t start, Py_ssize_t count
) except -2
cpdef Py_ssize_t sum16(Memory memory, Py_ssize_t off, Py_ssize_t count) except -1
cpdef Search search(bytes pattern)
cpdef Py_ssize_t find(Memory memory, Py_ssize_t off, Py_ssize_t count, bytes pattern) except -2


@cython.locals(memory=Memory)
cpdef Memory contiguous(bytes data)


cdef int _within(Memory memory, Py_ssize_t off, Py_ssize_t count) except -1
