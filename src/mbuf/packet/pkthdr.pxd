cimport cython

from mbuf.packet.tag cimport TagList
from mbuf.vm.commit cimport Releasable, finish_drop, put

cdef unsigned int CSUM_SND_TAG


@cython.no_gc
cdef class PktHdr(Releasable):
    cdef object place
    cdef TagList tags
    cdef bint taken_off
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
    cdef void hold(self, thing, unsigned int flag) noexcept
    cdef void add(self, Py_ssize_t count) noexcept
    cdef void reset(self) noexcept
    cdef bint laden(self) noexcept
    cdef void copy(self, PktHdr other) noexcept

    @cython.locals(tags=TagList)
    cdef int let_go(self) except -1
