# The interpreter's functions to tell tracemalloc of memory that isn't the interpreter's. They return -2 at
# once unless tracemalloc is tracing, and run no Python code.

from libc.stdint cimport uintptr_t


cdef extern from "Python.h":
    int PyTraceMalloc_Track(unsigned int domain, uintptr_t ptr, size_t size) noexcept
    int PyTraceMalloc_Untrack(unsigned int domain, uintptr_t ptr) noexcept
