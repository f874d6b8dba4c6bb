cimport cython


@cython.final
@cython.no_gc
cdef class PktHdr:
    cdef public object rcvif
    cdef public Py_ssize_t len
    cdef public unsigned int flowid
    cdef public unsigned int csum_flags
    cdef public unsigned short fibnum
    cdef public unsigned char numa_domain
    cdef public unsigned char rsstype
    cdef public unsigned long long rcv_tstmp
    cdef public unsigned long long PH_per
    cdef public unsigned long long PH_loc

    cdef void reset(self) noexcept
    cdef void copy(self, PktHdr other) noexcept
