cimport cython

cdef long long _MAX_GAP, _NEVER


cdef class CaptureClock:
    cdef readonly long long now
    cdef long long _latest

    cpdef restart(self)

    @cython.locals(gap=cython.longlong)
    cpdef long long advance(self, long long when) except -1
