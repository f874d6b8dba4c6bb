cimport cython

from mbuf.packet.control cimport Control
from mbuf.packet.peer cimport Peer
from mbuf.packet.tag cimport TagList
from mbuf.vm.commit cimport Releasable, run_releases_unraisable, release_later

cdef unsigned int CSUM_SND_TAG
cdef object _NO_RCVIF


@cython.no_gc
cdef class PktHdr(Releasable):
    cdef Control control
    cdef Peer peer
    cdef object rcvif_or_tag
    cdef TagList tags
    cdef public Py_ssize_t len
    cdef public unsigned int flowid
    cdef public unsigned int csum_flags
    cdef public unsigned short fibnum
    cdef public unsigned char numa_domain
    cdef public unsigned char rsstype
    cdef unsigned char removed
    cdef public unsigned long long rcv_tstmp
    cdef public unsigned long long PH_per
    cdef public unsigned long long PH_loc

    @cython.locals(bits=cython.uint)
    cdef void set_rcvif_or_tag(self, thing, unsigned int flag) noexcept
    cdef void set_peer(self, Peer peer, Control control) noexcept
    cdef bint drop_peer(self) noexcept

    @cython.locals(tags=TagList)
    cdef int on_release(self) except -1


cdef inline bint has_references(PktHdr hdr) noexcept:
    return hdr.rcvif_or_tag is not None or hdr.tags is not None


cdef inline bint has_tags(PktHdr hdr) noexcept:
    # CSUM_SND_TAG.
    return (hdr.csum_flags & 0x80000000U) != 0 or hdr.tags is not None


cdef inline void add_len(PktHdr hdr, Py_ssize_t count) noexcept:
    hdr.len += count


cdef inline void reset_header(PktHdr hdr) noexcept:
    hdr.len = 0
    hdr.flowid = 0
    hdr.csum_flags = 0
    hdr.fibnum = 0
    hdr.numa_domain = 0
    hdr.rsstype = 0
    hdr.rcv_tstmp = 0
    hdr.PH_per = 0
    hdr.PH_loc = 0


cdef inline void copy_header(PktHdr hdr, PktHdr other) noexcept:
    # The header is empty: most packets have nothing to copy here.
    if other.rcvif_or_tag is not None:
        hdr.rcvif_or_tag = other.rcvif_or_tag
        hdr.peer = other.peer
        hdr.control = other.control
    hdr.len = other.len
    hdr.flowid = other.flowid
    hdr.csum_flags = other.csum_flags
    hdr.fibnum = other.fibnum
    hdr.numa_domain = other.numa_domain
    hdr.rsstype = other.rsstype
    hdr.rcv_tstmp = other.rcv_tstmp
    hdr.PH_per = other.PH_per
    hdr.PH_loc = other.PH_loc
