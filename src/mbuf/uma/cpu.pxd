cimport cython

from mbuf.uma.waitq cimport current_thread
from mbuf.vm.commit cimport enter_commit, leave_commit


cdef struct Slot:
    unsigned long thread
    int cpu


@cython.final
@cython.no_gc
cdef class Cpus:
    cdef readonly int count
    cdef int _next
    cdef Slot *_table
    cdef size_t _room, _used

    @cython.locals(thread=cython.ulong, at=cython.int)
    cdef int here(self) noexcept

    @cython.locals(at=cython.size_t)
    cdef Slot *_find(self, unsigned long thread) noexcept

    @cython.locals(room=cython.size_t, n=cython.size_t)
    cdef bint _grow(self) noexcept
    cpdef int current(self) except -1

    @cython.locals(before=cython.int)
    cpdef int move(self, cpu) except -1
