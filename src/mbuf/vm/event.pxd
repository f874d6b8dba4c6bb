cimport cython

from mbuf.vm.commit cimport enter_commit, leave_commit


@cython.final
cdef class Event:
    cdef tuple _listeners
    cdef readonly unsigned long long count

    @cython.locals(done=cython.bint)
    cdef bint _replace(self, tuple before, tuple after) except -1
