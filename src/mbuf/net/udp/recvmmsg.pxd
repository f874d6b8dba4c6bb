cimport cython

from mbuf.net.linux cimport iovec, mmsghdr
from mbuf.vm.page cimport Exporter, Memory


cdef struct Key:
    unsigned char family
    unsigned char known
    unsigned char tos
    unsigned char ttl
    unsigned int interface
    unsigned char address[16]
    unsigned char source[4]


cdef struct Parsed:
    int gro_size
    unsigned long long timestamp
    bint precise
    unsigned int drops
    unsigned int vlan_tag
    Key key


cdef int AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IP_PKTINFO, IP_TOS, IP_TTL
cdef int IPV6_HOPLIMIT, IPV6_PKTINFO, IPV6_TCLASS
cdef int MSG_CTRUNC, MSG_DONTWAIT, MSG_TRUNC
cdef int SO_RXQ_OVFL, SO_TIMESTAMPING, SO_TIMESTAMPNS, SOL_SOCKET, SOL_UDP, UDP_GRO
cdef int PACKET_AUXDATA, SOL_PACKET
cdef unsigned int ETH_P_8021Q, TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID
cdef unsigned char HAS_TOS, HAS_TTL
cdef Py_ssize_t NAME_SIZE


@cython.final
@cython.no_gc
cdef class RecvVector:
    cdef readonly Py_ssize_t messages
    cdef readonly Py_ssize_t pieces
    cdef bint named
    cdef bint keyed
    cdef mmsghdr *_heads
    cdef iovec *_iov
    cdef unsigned char *_names
    cdef unsigned char *_controls
    cdef Parsed *_parsed
    cdef Py_ssize_t _control_size

    cdef int set_buffer(self, Py_ssize_t at, Exporter window) except -1

    @cython.locals(fd=cython.int, got=cython.int, error=cython.int, i=Py_ssize_t)
    cdef Py_ssize_t receive(self, sock, Py_ssize_t count) except? -1000

    cdef void _parse_control(self, Py_ssize_t i) noexcept
    cdef Py_ssize_t length(self, Py_ssize_t i)
    cdef bint truncated(self, Py_ssize_t i)
    cdef Py_ssize_t gro_size(self, Py_ssize_t i)
    cdef unsigned long long timestamp(self, Py_ssize_t i)
    cdef bint precise(self, Py_ssize_t i)
    cdef unsigned int drops(self, Py_ssize_t i)
    cdef unsigned int vlan_tag(self, Py_ssize_t i)
    cdef bytes name(self, Py_ssize_t i)
    cdef bytes key(self, Py_ssize_t i)


cpdef bint is_incomplete(int flags, int gro_size) noexcept
cdef unsigned int _vlan_tag(unsigned int status, unsigned int tci, unsigned int tpid) noexcept
cdef void _parse_ip(Key *key, int level, int kind, unsigned char *data) noexcept
