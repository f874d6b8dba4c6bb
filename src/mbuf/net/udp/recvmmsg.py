# cython: annotation_typing=True
"""recvmmsg(2): many messages received in one call, written by the kernel straight into memory.

A `RecvVector` is the array of `struct mmsghdr` that the call fills: for each message the memory to write to, and then
its length and flags, the peer's name, and the control messages: the segment size of GRO, the time, the number of
drops, the VLAN tag, the local address, TOS and hop limit. It knows nothing of mbufs. A receive never waits, and
releases the interpreter's lock during the call. Uncompiled, there is a recvmsg(2) for each message.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

from mbuf.net.linux import (
    ETH_P_8021Q,
    PACKET_AUXDATA,
    SO_RXQ_OVFL,
    SO_TIMESTAMPING,
    SO_TIMESTAMPNS,
    SOL_PACKET,
    SOL_UDP,
    TP_STATUS_VLAN_TPID_VALID,
    TP_STATUS_VLAN_VALID,
    UDP_GRO,
)
from mbuf.net.sockets import never_waiting
from mbuf.packet.control import HAS_TOS, HAS_TTL, IP_PKTINFO, KEY
from mbuf.packet.peer import packed
from mbuf.vm.page import Exporter, Memory, view_of

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.cpython.mem import PyMem_Calloc, PyMem_Free
    from cython.cimports.libc.errno import errno
    from cython.cimports.libc.string import memcpy, memset
    from cython.cimports.mbuf.net.linux import (
        CMSG_DATA,
        CMSG_FIRSTHDR,
        CMSG_NXTHDR,
        cmsghdr,
        iovec,
        mmsghdr,
        recvmmsg,
        tpacket_auxdata,
    )
    from cython.cimports.mbuf.net.udp.recvmmsg import Key, Parsed
    from cython.cimports.posix.time import timespec

MSG_DONTWAIT = socket.MSG_DONTWAIT
MSG_CTRUNC = socket.MSG_CTRUNC
MSG_TRUNC = socket.MSG_TRUNC
SOL_SOCKET = socket.SOL_SOCKET
AF_INET = socket.AF_INET
AF_INET6 = socket.AF_INET6
IPPROTO_IP = socket.IPPROTO_IP
IPPROTO_IPV6 = socket.IPPROTO_IPV6
IP_TOS = socket.IP_TOS
IP_TTL = socket.IP_TTL
IPV6_HOPLIMIT = socket.IPV6_HOPLIMIT
IPV6_PKTINFO = socket.IPV6_PKTINFO
IPV6_TCLASS = socket.IPV6_TCLASS

#: Bytes for the control messages of a message. The kernel writes those of the socket first (200 bytes if all are on:
#: times, drops, mark, priority), then that of GRO (24): it has room even if the program has turned others on. Then
#: come those of IP, for which a vector needs more.
CONTROL_SIZE = 256
CONTROL_SIZE_IP = 512
#: Bytes for the name of a peer: a sockaddr_in6 has 28.
NAME_SIZE = 32

#: struct tpacket_auxdata: status, lengths and offsets, VLAN tag, TPID. See packet(7).
_AUXDATA = struct.Struct("=I12xHH")
#: struct timespec, of 64 bits; struct scm_timestamping has three.
_TIMESPEC = struct.Struct("=qq")


@cython.no_gc
@cython.cclass
class RecvVector:
    """Room for `messages` messages, each of which is written to at most `pieces` pieces of memory, in order.

    The caller sets the memory with `set_buffer`, and keeps it alive until it sets another. `named` asks for the peers'
    names, `keyed` for what a `Control` is made of. What a message brought is valid until the next `receive`.
    """

    __slots__ = ("_buffers", "_control_size", "_received", "keyed", "messages", "named", "pieces")
    if TYPE_CHECKING:
        messages: int
        pieces: int
        named: bool
        keyed: bool
        _heads: Any
        _iov: Any
        _names: Any
        _controls: Any
        _parsed: Any

    def __init__(
        self, messages: cython.Py_ssize_t, pieces: cython.Py_ssize_t, named: cython.bint, keyed: cython.bint = False
    ) -> None:
        if not 0 < messages <= 1024 or not 0 < pieces <= 1024:
            raise IndexError(f"{messages} messages of {pieces} pieces: give 1 to 1024 of both")
        if cython.compiled and self._heads != cython.NULL:
            raise IndexError("this vector was initialized already")
        self.messages = messages
        self.pieces = pieces
        self.named = named
        self.keyed = keyed
        self._control_size: cython.Py_ssize_t = CONTROL_SIZE_IP if keyed else CONTROL_SIZE
        if cython.compiled:
            self._allocate()
        else:
            self._buffers: list[Any] = [None] * (messages * pieces)
            self._received: list[Any] = []

    def _allocate(self) -> None:
        i: cython.Py_ssize_t
        count: cython.Py_ssize_t = self.messages
        self._heads = cython.cast(cython.pointer[mmsghdr], PyMem_Calloc(count, cython.sizeof(mmsghdr)))
        self._iov = cython.cast(cython.pointer[iovec], PyMem_Calloc(count * self.pieces, cython.sizeof(iovec)))
        self._names = cython.cast(cython.p_uchar, PyMem_Calloc(count, NAME_SIZE))
        self._controls = cython.cast(cython.p_uchar, PyMem_Calloc(count, self._control_size))
        self._parsed = cython.cast(cython.pointer[Parsed], PyMem_Calloc(count, cython.sizeof(Parsed)))
        if (
            self._heads == cython.NULL
            or self._iov == cython.NULL
            or self._names == cython.NULL
            or self._controls == cython.NULL
            or self._parsed == cython.NULL
        ):
            raise MemoryError
        for i in range(count):
            self._heads[i].msg_hdr.msg_iov = self._iov + i * self.pieces
            self._heads[i].msg_hdr.msg_iovlen = self.pieces
            self._heads[i].msg_hdr.msg_control = self._controls + i * self._control_size
            if self.named:
                self._heads[i].msg_hdr.msg_name = self._names + i * NAME_SIZE

    def __dealloc__(self) -> None:
        if cython.compiled:
            PyMem_Free(self._heads)
            PyMem_Free(self._iov)
            PyMem_Free(self._names)
            PyMem_Free(self._controls)
            PyMem_Free(self._parsed)

    def set_buffer(self, at: cython.Py_ssize_t, window: Exporter) -> None:
        """Set piece `at % pieces` of message `at // pieces`: the kernel may write to the bytes of the window."""
        if not 0 <= at < self.messages * self.pieces:
            raise IndexError(f"there is no piece {at}")
        if cython.compiled:
            memory: Memory = window.buf
            if window.off < 0 or window.count < 0 or window.off > memory.size - window.count:
                raise IndexError("the window is larger than its memory")
            self._iov[at].iov_base = memory.ptr + window.off
            self._iov[at].iov_len = window.count
        else:
            self._buffers[at] = window

    def receive(self, sock: Any, count: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Receive at most `count` messages that have arrived; how many, or the negated error number. Never waits."""
        if not 0 < count <= self.messages:
            raise IndexError(f"there is no room for {count} messages")
        if cython.compiled:
            fd: cython.int = sock.fileno()
            i: cython.Py_ssize_t
            for i in range(count):
                self._heads[i].msg_hdr.msg_controllen = self._control_size
                self._heads[i].msg_hdr.msg_namelen = NAME_SIZE if self.named else 0
            with cython.nogil:
                got: cython.int = recvmmsg(fd, self._heads, count, MSG_DONTWAIT, cython.NULL)
                error: cython.int = errno
            if got < 0:
                return -error
            for i in range(got):
                self._parse_control(i)
            return got
        self._received = []
        while len(self._received) < count:
            try:
                self._received.append(self._receive(sock, len(self._received)))
            except OSError as error:
                if not self._received:
                    return -(error.errno or 1)
                break
        return len(self._received)

    def _receive(self, sock: Any, i: int) -> Any:
        """Receive one message, uncompiled: its length, flags and name, and what `parsed` returns."""
        views: list[memoryview] = []
        for window in self._buffers[i * self.pieces : (i + 1) * self.pieces]:
            if window is not None:
                views.append(view_of(window.buf, window.off, window.count, False))
        try:
            length, control, flags, name = never_waiting(sock, "recvmsg_into", views, self._control_size, MSG_DONTWAIT)
        finally:
            for view in views:
                view.release()
        return length, flags, name, *parsed(control)

    def _parse_control(self, i: cython.Py_ssize_t) -> None:
        """Parse the control messages of a message."""
        into: cython.pointer[Parsed] = self._parsed + i
        into.gro_size = 0
        into.timestamp = 0
        into.precise = False
        into.drops = 0
        into.vlan_tag = 0
        if self.keyed:
            memset(cython.address(into.key), 0, cython.sizeof(Key))
        cmsg: cython.pointer[cmsghdr] = CMSG_FIRSTHDR(cython.address(self._heads[i].msg_hdr))
        number = cython.declare(cython.int)
        uint = cython.declare(cython.uint)
        time = cython.declare(timespec)
        aux = cython.declare(tpacket_auxdata)
        while cmsg != cython.NULL:
            data: cython.p_uchar = CMSG_DATA(cmsg)
            if cmsg.cmsg_level == SOL_UDP and cmsg.cmsg_type == UDP_GRO:
                memcpy(cython.address(number), data, 4)
                into.gro_size = number
            elif cmsg.cmsg_level == SOL_SOCKET and cmsg.cmsg_type == SO_TIMESTAMPNS:
                memcpy(cython.address(time), data, cython.sizeof(timespec))
                into.timestamp = time.tv_sec * 1000000000 + time.tv_nsec
            elif cmsg.cmsg_level == SOL_SOCKET and cmsg.cmsg_type == SO_TIMESTAMPING:
                # The third is the time of the network card, and 0 if it has none. That of the system came before.
                memcpy(cython.address(time), data + 2 * cython.sizeof(timespec), cython.sizeof(timespec))
                if time.tv_sec != 0 or time.tv_nsec != 0:
                    into.precise = True
                    into.timestamp = time.tv_sec * 1000000000 + time.tv_nsec
            elif cmsg.cmsg_level == SOL_SOCKET and cmsg.cmsg_type == SO_RXQ_OVFL:
                memcpy(cython.address(uint), data, 4)
                into.drops = uint
            elif cmsg.cmsg_level == SOL_PACKET and cmsg.cmsg_type == PACKET_AUXDATA:
                memcpy(cython.address(aux), data, cython.sizeof(tpacket_auxdata))
                into.vlan_tag = _vlan_tag(aux.tp_status, aux.tp_vlan_tci, aux.tp_vlan_tpid)
            elif self.keyed:
                _parse_ip(cython.address(into.key), cmsg.cmsg_level, cmsg.cmsg_type, data)
            cmsg = CMSG_NXTHDR(cython.address(self._heads[i].msg_hdr), cmsg)

    def length(self, i: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Bytes of a received message."""
        if cython.compiled:
            return self._heads[i].msg_len
        return self._received[i][0]

    def truncated(self, i: cython.Py_ssize_t) -> cython.bint:
        """Whether the message was longer than the memory for it, or it can't be known whether GRO coalesced it."""
        if cython.compiled:
            return is_incomplete(self._heads[i].msg_hdr.msg_flags, self._parsed[i].gro_size)
        return is_incomplete(self._received[i][1], self._received[i][3])

    def gro_size(self, i: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """The size of the datagrams that GRO coalesced into the message; 0 if it is one datagram."""
        if cython.compiled:
            return self._parsed[i].gro_size
        return self._received[i][3]

    def timestamp(self, i: cython.Py_ssize_t) -> cython.ulonglong:
        """When the message arrived, in nanoseconds since the epoch; 0 unless the socket has SO_TIMESTAMPNS.

        With SO_TIMESTAMPING too, it may be the time of the network card: see `precise`.
        """
        if cython.compiled:
            return self._parsed[i].timestamp
        return self._received[i][4]

    def precise(self, i: cython.Py_ssize_t) -> cython.bint:
        """Whether the time is that of the network card."""
        if cython.compiled:
            return self._parsed[i].precise
        return self._received[i][7]

    def drops(self, i: cython.Py_ssize_t) -> cython.uint:
        """How many messages the socket had dropped until then, modulo 2**32; 0 unless it has SO_RXQ_OVFL."""
        if cython.compiled:
            return self._parsed[i].drops
        return self._received[i][5]

    def vlan_tag(self, i: cython.Py_ssize_t) -> cython.uint:
        """The VLAN tag that the kernel removed from the frame: TPID << 16 | TCI; 0 if there was none."""
        if cython.compiled:
            return self._parsed[i].vlan_tag
        return self._received[i][6]

    def name(self, i: cython.Py_ssize_t) -> Any:
        """The peer's name: the bytes of a sockaddr."""
        if cython.compiled:
            size: cython.Py_ssize_t = min(self._heads[i].msg_hdr.msg_namelen, NAME_SIZE)
            return self._names[i * NAME_SIZE : i * NAME_SIZE + size]
        return packed(self._received[i][2])

    def key(self, i: cython.Py_ssize_t) -> Any:
        """The key of the message's `Control`, if the vector is `keyed`."""
        if cython.compiled:
            data: cython.p_uchar = cython.cast(cython.p_uchar, cython.address(self._parsed[i].key))
            return data[: cython.sizeof(Key)]
        return self._received[i][8]


def is_incomplete(flags: cython.int, gro_size: cython.int) -> cython.bint:
    """Whether a message was longer than the memory for it, or it can't be known whether GRO coalesced it."""
    return flags & MSG_TRUNC != 0 or (flags & MSG_CTRUNC != 0 and gro_size == 0)


def _vlan_tag(status: cython.uint, tci: cython.uint, tpid: cython.uint) -> cython.uint:
    """TPID and TCI in one number; 0 if the frame had no tag. Kernels before 3.14 have 802.1Q alone, and no TPID."""
    if not status & TP_STATUS_VLAN_VALID:
        return 0
    return (tpid if status & TP_STATUS_VLAN_TPID_VALID else ETH_P_8021Q) << 16 | tci


def _parse_ip(key: cython.pointer[Key], level: cython.int, kind: cython.int, data: cython.p_uchar) -> None:
    """Parse a control message of IP."""
    number = cython.declare(cython.int)
    if level == IPPROTO_IP and kind == IP_PKTINFO:
        key.family = AF_INET
        memcpy(cython.address(key.interface), data, 4)
        memcpy(cython.address(key.source), data + 4, 4)
        memcpy(cython.address(key.address), data + 8, 4)
    elif level == IPPROTO_IPV6 and kind == IPV6_PKTINFO:
        key.family = AF_INET6
        memcpy(cython.address(key.address), data, 16)
        memcpy(cython.address(key.interface), data + 16, 4)
    elif level == IPPROTO_IP and kind == IP_TOS:
        key.tos = data[0]
        key.known |= HAS_TOS
    elif level == IPPROTO_IPV6 and kind == IPV6_TCLASS:
        memcpy(cython.address(number), data, 4)
        key.tos = number
        key.known |= HAS_TOS
    elif (level == IPPROTO_IP and kind == IP_TTL) or (level == IPPROTO_IPV6 and kind == IPV6_HOPLIMIT):
        memcpy(cython.address(number), data, 4)
        key.ttl = number
        key.known |= HAS_TTL


def parsed(control: Any) -> tuple[int, int, int, int, bool, bytes]:
    """What the control messages of the socket module say: segment size, time, drops, VLAN tag, `precise`, key."""
    gro_size = timestamp = drops = tag = 0
    precise = False
    family = known = tos = ttl = interface = 0
    address = source = b""
    for level, kind, data in control:
        number = int.from_bytes(data[:4], sys.byteorder)
        if level == SOL_UDP and kind == UDP_GRO:
            gro_size = number
        elif level == SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            timestamp = seconds * 10**9 + nanoseconds
        elif level == SOL_SOCKET and kind == SO_TIMESTAMPING:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data, 2 * _TIMESPEC.size)
            if seconds or nanoseconds:
                precise, timestamp = True, seconds * 10**9 + nanoseconds
        elif level == SOL_SOCKET and kind == SO_RXQ_OVFL:
            drops = number
        elif level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, tci, tpid = _AUXDATA.unpack_from(data)
            tag = _vlan_tag(status, tci, tpid)
        elif level == IPPROTO_IP and kind == IP_PKTINFO:
            family, interface, source, address = AF_INET, number, data[4:8], data[8:12]
        elif level == IPPROTO_IPV6 and kind == IPV6_PKTINFO:
            family, address, interface = AF_INET6, data[:16], int.from_bytes(data[16:20], sys.byteorder)
        elif (level == IPPROTO_IP and kind == IP_TOS) or (level == IPPROTO_IPV6 and kind == IPV6_TCLASS):
            tos, known = data[0] if level == IPPROTO_IP else number, known | HAS_TOS
        elif (level == IPPROTO_IP and kind == IP_TTL) or (level == IPPROTO_IPV6 and kind == IPV6_HOPLIMIT):
            ttl, known = number, known | HAS_TTL
    return gro_size, timestamp, drops, tag, precise, KEY.pack(family, known, tos, ttl, interface, address, source)
