cimport cython

cdef unsigned int CSUM_SND_TAG


@cython.final
@cython.no_gc
cdef class PktHdr:
    cdef object place
    cdef object tags
    cdef public Py_ssize_t len
    cdef public unsigned int flowid
    cdef public unsigned int csum_flags
    cdef public unsigned short fibnum
    cdef public unsigned char numa_domain
    cdef public unsigned char rsstype
    cdef public unsigned long long rcv_tstmp
    cdef public unsigned long long PH_per
    cdef public unsigned long long PH_loc

    @cython.locals(bits=cython.uint)
    cdef int hold(self, thing, unsigned int flag) except -1
    cdef void add(self, Py_ssize_t count) noexcept
    cdef void reset(self) noexcept
    cdef int clear(self) except -1
    cdef int copy(self, PktHdr other) except -1
