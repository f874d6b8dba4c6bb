cimport cython

from mbuf.net.linux cimport iovec, mmsghdr
from mbuf.vm.page cimport Exporter, Memory


cdef struct Control:
    int gro_size
    unsigned long long timestamp
    unsigned int drops
    unsigned int vlan_tag


cdef int MSG_DONTWAIT, MSG_TRUNC, SO_RXQ_OVFL, SO_TIMESTAMPNS, SOL_SOCKET, SOL_UDP, UDP_GRO
cdef int PACKET_AUXDATA, SOL_PACKET
cdef unsigned int ETH_P_8021Q, TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID
cdef Py_ssize_t CONTROL_SIZE, NAME_SIZE


@cython.final
@cython.no_gc
cdef class RecvVector:
    cdef readonly Py_ssize_t messages
    cdef readonly Py_ssize_t pieces
    cdef bint named
    cdef mmsghdr *_heads
    cdef iovec *_iov
    cdef unsigned char *_names
    cdef unsigned char *_controls
    cdef Control *_parsed

    cdef int set_buffer(self, Py_ssize_t at, Exporter window) except -1

    @cython.locals(fd=cython.int, got=cython.int, error=cython.int, i=Py_ssize_t)
    cdef Py_ssize_t receive(self, sock, Py_ssize_t count) except? -1000

    cdef void _parse_control(self, Py_ssize_t i) noexcept
    cdef Py_ssize_t length(self, Py_ssize_t i)
    cdef bint truncated(self, Py_ssize_t i)
    cdef Py_ssize_t gro_size(self, Py_ssize_t i)
    cdef unsigned long long timestamp(self, Py_ssize_t i)
    cdef unsigned int drops(self, Py_ssize_t i)
    cdef unsigned int vlan_tag(self, Py_ssize_t i)
    cdef bytes name(self, Py_ssize_t i)


cdef unsigned int _vlan_tag(unsigned int status, unsigned int tci, unsigned int tpid) noexcept
