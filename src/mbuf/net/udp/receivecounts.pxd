cimport cython


@cython.final
cdef class ReceiveCounts:
    cdef unsigned long long packets_in
    cdef unsigned long long bytes_in
    cdef unsigned long long calls_in
    cdef unsigned long long denied
    cdef unsigned long long shortages
    cdef unsigned long long dropped
    cdef unsigned long long dropped_messages
    cdef unsigned long long truncated
    cdef unsigned long long discarded
    cdef unsigned long long faults
    cdef Py_ssize_t expected
    cdef unsigned int _drops

    cpdef dict as_dict(self)
    cdef void add_packets(self, Py_ssize_t packets) noexcept

    cdef void discard(self, Py_ssize_t packets, Py_ssize_t size, Py_ssize_t late) noexcept

    @cython.locals(messages=cython.uint)
    cdef void add_drops(self, unsigned int drops, Py_ssize_t datagrams) noexcept
