# cython: annotation_typing=True
"""recvmmsg(2): many messages received in one call, written by the kernel straight into memory.

A `RecvVector` is the array of `struct mmsghdr` that the call fills: for each message the memory to write to, and then
its length and flags, the peer's name, and the control messages: the segment size of GRO, the time, the number of
drops, the VLAN tag. It knows nothing of mbufs. A receive never waits, and releases the interpreter's lock during the
call. Uncompiled, there is a recvmsg(2) for each message.
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
    SO_TIMESTAMPNS,
    SOL_PACKET,
    SOL_UDP,
    TP_STATUS_VLAN_TPID_VALID,
    TP_STATUS_VLAN_VALID,
    UDP_GRO,
)
from mbuf.packet.peer import packed
from mbuf.vm.page import Exporter, Memory, view_of

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.cpython.mem import PyMem_Calloc, PyMem_Free
    from cython.cimports.libc.errno import errno
    from cython.cimports.libc.string import memcpy
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
    from cython.cimports.mbuf.net.udp.recvmmsg import Control
    from cython.cimports.posix.time import timespec

MSG_DONTWAIT = socket.MSG_DONTWAIT
MSG_TRUNC = socket.MSG_TRUNC
SOL_SOCKET = socket.SOL_SOCKET

#: Bytes for all control messages of a message, and for the name of a peer (a sockaddr).
CONTROL_SIZE = 128
NAME_SIZE = 128

#: struct tpacket_auxdata: status, lengths and offsets, VLAN tag, TPID. See packet(7).
_AUXDATA = struct.Struct("=I12xHH")
#: struct timespec, of 64 bits.
_TIMESPEC = struct.Struct("=qq")


@cython.no_gc
@cython.cclass
class RecvVector:
    """Room for `messages` messages, each of which is written to at most `pieces` pieces of memory, in order.

    The caller sets the memory with `set_buffer`, and keeps it alive until it sets another. `named` asks for the peers'
    names. What a message brought is valid until the next `receive`.
    """

    __slots__ = ("_buffers", "_received", "messages", "named", "pieces")
    if TYPE_CHECKING:
        messages: int
        pieces: int
        named: bool
        _heads: Any
        _iov: Any
        _names: Any
        _controls: Any
        _parsed: Any

    def __init__(self, messages: cython.Py_ssize_t, pieces: cython.Py_ssize_t, named: cython.bint) -> None:
        if not 0 < messages <= 1024 or not 0 < pieces <= 1024:
            raise IndexError(f"{messages} messages of {pieces} pieces: give 1 to 1024 of both")
        if cython.compiled and self._heads != cython.NULL:
            raise IndexError("this vector was initialized already")
        self.messages = messages
        self.pieces = pieces
        self.named = named
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
        self._controls = cython.cast(cython.p_uchar, PyMem_Calloc(count, CONTROL_SIZE))
        self._parsed = cython.cast(cython.pointer[Control], PyMem_Calloc(count, cython.sizeof(Control)))
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
            self._heads[i].msg_hdr.msg_control = self._controls + i * CONTROL_SIZE
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
                self._heads[i].msg_hdr.msg_controllen = CONTROL_SIZE
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
        """Receive one message, uncompiled: its length, flags, name, segment size, time, drops and VLAN tag."""
        views: list[memoryview] = []
        for window in self._buffers[i * self.pieces : (i + 1) * self.pieces]:
            if window is not None:
                views.append(view_of(window.buf, window.off, window.count, False))
        try:
            length, control, flags, name = sock.recvmsg_into(views, CONTROL_SIZE, MSG_DONTWAIT)
        finally:
            for view in views:
                view.release()
        gro_size = timestamp = drops = tag = 0
        for level, kind, data in control:
            if level == SOL_UDP and kind == UDP_GRO:
                gro_size = int.from_bytes(data[:4], sys.byteorder)
            elif level == SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                timestamp = seconds * 10**9 + nanoseconds
            elif level == SOL_SOCKET and kind == SO_RXQ_OVFL:
                drops = int.from_bytes(data[:4], sys.byteorder)
            elif level == SOL_PACKET and kind == PACKET_AUXDATA:
                status, tci, tpid = _AUXDATA.unpack_from(data)
                tag = _vlan_tag(status, tci, tpid)
        return length, flags, name, gro_size, timestamp, drops, tag

    def _parse_control(self, i: cython.Py_ssize_t) -> None:
        """Parse the control messages of a message."""
        parsed: cython.pointer[Control] = self._parsed + i
        parsed.gro_size = 0
        parsed.timestamp = 0
        parsed.drops = 0
        parsed.vlan_tag = 0
        cmsg: cython.pointer[cmsghdr] = CMSG_FIRSTHDR(cython.address(self._heads[i].msg_hdr))
        number = cython.declare(cython.int)
        uint = cython.declare(cython.uint)
        time = cython.declare(timespec)
        aux = cython.declare(tpacket_auxdata)
        while cmsg != cython.NULL:
            if cmsg.cmsg_level == SOL_UDP and cmsg.cmsg_type == UDP_GRO:
                memcpy(cython.address(number), CMSG_DATA(cmsg), 4)
                parsed.gro_size = number
            elif cmsg.cmsg_level == SOL_SOCKET and cmsg.cmsg_type == SO_TIMESTAMPNS:
                memcpy(cython.address(time), CMSG_DATA(cmsg), cython.sizeof(timespec))
                parsed.timestamp = time.tv_sec * 1000000000 + time.tv_nsec
            elif cmsg.cmsg_level == SOL_SOCKET and cmsg.cmsg_type == SO_RXQ_OVFL:
                memcpy(cython.address(uint), CMSG_DATA(cmsg), 4)
                parsed.drops = uint
            elif cmsg.cmsg_level == SOL_PACKET and cmsg.cmsg_type == PACKET_AUXDATA:
                memcpy(cython.address(aux), CMSG_DATA(cmsg), cython.sizeof(tpacket_auxdata))
                parsed.vlan_tag = _vlan_tag(aux.tp_status, aux.tp_vlan_tci, aux.tp_vlan_tpid)
            cmsg = CMSG_NXTHDR(cython.address(self._heads[i].msg_hdr), cmsg)

    def length(self, i: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Bytes of a received message."""
        if cython.compiled:
            return self._heads[i].msg_len
        return self._received[i][0]

    def truncated(self, i: cython.Py_ssize_t) -> cython.bint:
        """Whether the message was longer than the memory for it."""
        if cython.compiled:
            return self._heads[i].msg_hdr.msg_flags & MSG_TRUNC != 0
        return bool(self._received[i][1] & MSG_TRUNC)

    def gro_size(self, i: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """The size of the datagrams that GRO coalesced into the message; 0 if it is one datagram."""
        if cython.compiled:
            return self._parsed[i].gro_size
        return self._received[i][3]

    def timestamp(self, i: cython.Py_ssize_t) -> cython.ulonglong:
        """When the message arrived, in nanoseconds since the epoch; 0 unless the socket has SO_TIMESTAMPNS."""
        if cython.compiled:
            return self._parsed[i].timestamp
        return self._received[i][4]

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


def _vlan_tag(status: cython.uint, tci: cython.uint, tpid: cython.uint) -> cython.uint:
    """TPID and TCI in one number; 0 if the frame had no tag. Kernels before 3.14 have 802.1Q alone, and no TPID."""
    if not status & TP_STATUS_VLAN_VALID:
        return 0
    return (tpid if status & TP_STATUS_VLAN_TPID_VALID else ETH_P_8021Q) << 16 | tci
