cimport cython

from mbuf.net.port.rules cimport (
    CallLock, check_addressed, check_list, check_packet, check_ready, check_untagged, free_sent,
)
from mbuf.net.udp.sendmmsg cimport SendVector
from mbuf.packet.chain cimport Chain, length, next_checked
from mbuf.packet.control cimport Control, control_messages
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.peer cimport Peer, peer_of
from mbuf.packet.read cimport pieces
from mbuf.vm.buffer_export cimport export_buffer

cdef unsigned int M_EXTPG, M_NOTREADY, M_PKTHDR, M_VLANTAG, NOT_PLAIN
cdef Py_ssize_t GSO_BYTES_MAX, GSO_SEGMENTS_MAX, GSO_SIZE_MAX, IOV_MAX, MESSAGES_MAX
cdef int GSO_REFUSED


cdef inline bint has_extras(Mbuf m) noexcept:
    # CSUM_OFFLOAD.
    return m.bits & M_PKTHDR != 0 and (m.hdr.control is not None or (m.hdr.csum_flags & 0x1616U) != 0)


@cython.final
cdef class UdpSender:
    cdef object _sock
    cdef object _failures
    cdef bytes _to
    cdef bint _connected
    cdef bint _ipv6
    cdef bint _reply
    cdef SendVector _vector
    cdef readonly CallLock lock
    cdef readonly Py_ssize_t gso
    cdef Py_ssize_t _looking_at
    cdef Py_ssize_t _plain
    cdef Py_ssize_t _suspect
    cdef bytes _suspect_name
    cdef Py_ssize_t _limited
    cdef bytes _limited_name
    cdef unsigned long long _packets
    cdef unsigned long long _bytes
    cdef unsigned long long _calls
    cdef unsigned long long _errors
    cdef unsigned long long _faults

    @cython.locals(done=Py_ssize_t, sent=Py_ssize_t)
    cpdef Py_ssize_t push(self, packets) except -1

    @cython.locals(
        messages=Py_ssize_t, tries=Py_ssize_t, refused=Py_ssize_t, error=cython.int, pending=cython.int
    )
    cdef Py_ssize_t _send(self, list packets, Py_ssize_t at) except -1

    @cython.locals(vector=SendVector, messages=Py_ssize_t)
    cdef Py_ssize_t _call(self, list packets, Py_ssize_t at) except? -1000

    @cython.locals(vector=SendVector, sent=Py_ssize_t, n=Py_ssize_t)
    cdef Py_ssize_t _count(self, list packets, Py_ssize_t at, Py_ssize_t messages) except -1

    @cython.locals(m=Mbuf)
    cdef int _refuse_gso(self, int error, list packets, Py_ssize_t at, Py_ssize_t refused) except -1

    @cython.locals(m=Mbuf, name=bytes)
    cdef Py_ssize_t _refuse(self, int error, list packets, Py_ssize_t at, Py_ssize_t refused) except -1
    cdef int _add_pending(self, int error) except -1

    @cython.locals(limit=Py_ssize_t)
    cdef Py_ssize_t _gso_for(self, bytes name) except -1

    @cython.locals(
        vector=SendVector, size=Py_ssize_t, whole=Py_ssize_t, gso_size=Py_ssize_t,
        most=Py_ssize_t, count=Py_ssize_t, first=Py_ssize_t, end=Py_ssize_t, m=Mbuf, name=bytes,
        control=bytes, plain=cython.bint, alone=cython.bint,
    )
    cdef int _fill(self, list packets, Py_ssize_t at, Py_ssize_t total) except -1

    @cython.locals(count=Py_ssize_t, other=bytes, theirs=bytes)
    cdef Py_ssize_t _add_segment(
        self, Mbuf m, Py_ssize_t size, Py_ssize_t room, bytes name, bytes control
    ) except -1
    cdef bint _fits(self, Mbuf m) except -1

    @cython.locals(vector=SendVector, total=Py_ssize_t, n=Chain)
    cdef Py_ssize_t _add(self, Mbuf m) except -1

    @cython.locals(peer=Peer)
    cdef bytes _name_of(self, Mbuf m)

    @cython.locals(control=Control)
    cdef bytes _control_of(self, Mbuf m)


@cython.locals(count=Py_ssize_t, n=Chain)
cdef Py_ssize_t _count_pieces(Chain m) except -1
