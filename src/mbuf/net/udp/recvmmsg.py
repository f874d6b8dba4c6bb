# cython: annotation_typing=True
"""Many messages received in one call, straight into memory: recvmmsg(2).

Sees stretches of memory, and what the kernel says beside the bytes: a peer's name, a segment size, a time, a count
of drops, a VLAN tag. Waits for nothing, holds no lock during the call, and never knows whose bytes these are.
Uncompiled, it makes a call for each message.
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
from mbuf.net.udp.peer import packed
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
    from cython.cimports.mbuf.net.udp.recvmmsg import Told
    from cython.cimports.posix.time import timespec

MSG_DONTWAIT = socket.MSG_DONTWAIT
MSG_TRUNC = socket.MSG_TRUNC
SOL_SOCKET = socket.SOL_SOCKET

#: Bytes for all that the kernel may say beside a message, and for the name of a peer.
CONTROL = 128
NAME = 128

#: Of a packet's auxiliary data: status, lengths, offsets, the VLAN tag and its kind. See packet(7).
_AUXDATA = struct.Struct("=I12xHH")


@cython.no_gc
@cython.cclass
class Inbox:
    """Room for `messages` messages, each in at most `pieces` stretches of memory one after the other.

    The memory is put there with `put`, and must stay until it is replaced. `named` asks for the peers' names.
    """

    __slots__ = ("_got", "_room", "messages", "named", "pieces")
    if TYPE_CHECKING:
        messages: int
        pieces: int
        named: bool
        _heads: Any
        _iov: Any
        _names: Any
        _controls: Any
        _told: Any

    def __init__(self, messages: cython.Py_ssize_t, pieces: cython.Py_ssize_t, named: cython.bint) -> None:
        if not 0 < messages <= 1024 or not 0 < pieces <= 1024:
            raise IndexError(f"{messages} messages of {pieces} pieces: the system takes 1 to 1024 of both")
        if cython.compiled and self._heads != cython.NULL:
            raise IndexError("this inbox is made already")
        self.messages = messages
        self.pieces = pieces
        self.named = named
        if cython.compiled:
            self._make()
        else:
            self._room: list[Any] = [None] * (messages * pieces)
            self._got: list[Any] = []

    def _make(self) -> None:
        i: cython.Py_ssize_t
        count: cython.Py_ssize_t = self.messages
        self._heads = cython.cast(cython.pointer[mmsghdr], PyMem_Calloc(count, cython.sizeof(mmsghdr)))
        self._iov = cython.cast(cython.pointer[iovec], PyMem_Calloc(count * self.pieces, cython.sizeof(iovec)))
        self._names = cython.cast(cython.p_uchar, PyMem_Calloc(count, NAME))
        self._controls = cython.cast(cython.p_uchar, PyMem_Calloc(count, CONTROL))
        self._told = cython.cast(cython.pointer[Told], PyMem_Calloc(count, cython.sizeof(Told)))
        if (
            self._heads == cython.NULL
            or self._iov == cython.NULL
            or self._names == cython.NULL
            or self._controls == cython.NULL
            or self._told == cython.NULL
        ):
            raise MemoryError
        for i in range(count):
            self._heads[i].msg_hdr.msg_iov = self._iov + i * self.pieces
            self._heads[i].msg_hdr.msg_iovlen = self.pieces
            self._heads[i].msg_hdr.msg_control = self._controls + i * CONTROL
            if self.named:
                self._heads[i].msg_hdr.msg_name = self._names + i * NAME

    def __dealloc__(self) -> None:
        if cython.compiled:
            PyMem_Free(self._heads)
            PyMem_Free(self._iov)
            PyMem_Free(self._names)
            PyMem_Free(self._controls)
            PyMem_Free(self._told)

    def put(self, at: cython.Py_ssize_t, window: Exporter) -> None:
        """Have bytes written to a window: to that of message `at // pieces`, as its piece `at % pieces`."""
        if not 0 <= at < self.messages * self.pieces:
            raise IndexError(f"there is no piece {at}")
        if cython.compiled:
            memory: Memory = window.buf
            if window.off < 0 or window.count < 0 or window.off > memory.size - window.count:
                raise IndexError("the window is larger than its memory")
            self._iov[at].iov_base = memory.ptr + window.off
            self._iov[at].iov_len = window.count
        else:
            self._room[at] = window

    def receive(self, sock: Any, count: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Take at most `count` messages that are there; how many came, or the system's error number, negated."""
        if not 0 < count <= self.messages:
            raise IndexError(f"there is no room for {count} messages")
        if cython.compiled:
            fd: cython.int = sock.fileno()
            i: cython.Py_ssize_t
            for i in range(count):
                self._heads[i].msg_hdr.msg_controllen = CONTROL
                self._heads[i].msg_hdr.msg_namelen = NAME if self.named else 0
            with cython.nogil:
                got: cython.int = recvmmsg(fd, self._heads, count, MSG_DONTWAIT, cython.NULL)
                error: cython.int = errno
            if got < 0:
                return -error
            for i in range(got):
                self._listen(i)
            return got
        self._got = []
        while len(self._got) < count:
            try:
                self._got.append(self._receive(sock, len(self._got)))
            except OSError as error:
                if not self._got:
                    return -(error.errno or 1)
                break
        return len(self._got)

    def _receive(self, sock: Any, i: int) -> Any:
        """One message, uncompiled: its length, flags, name, segment size, time, drops and tag."""
        views: list[memoryview] = []
        for window in self._room[i * self.pieces : (i + 1) * self.pieces]:
            if window is not None:
                views.append(view_of(window.buf, window.off, window.count, False))
        try:
            length, told, flags, name = sock.recvmsg_into(views, CONTROL, MSG_DONTWAIT)
        finally:
            for view in views:
                view.release()
        segment = stamp = drops = tag = 0
        for level, kind, data in told:
            if level == SOL_UDP and kind == UDP_GRO:
                segment = int.from_bytes(data[:4], sys.byteorder)
            elif level == SOL_SOCKET and kind == SO_TIMESTAMPNS:
                stamp = int.from_bytes(data[:8], sys.byteorder) * 10**9 + int.from_bytes(data[8:16], sys.byteorder)
            elif level == SOL_SOCKET and kind == SO_RXQ_OVFL:
                drops = int.from_bytes(data[:4], sys.byteorder)
            elif level == SOL_PACKET and kind == PACKET_AUXDATA:
                status, number, tpid = _AUXDATA.unpack_from(data)
                tag = _tag(status, number, tpid)
        return length, flags, name, segment, stamp, drops, tag

    def _listen(self, i: cython.Py_ssize_t) -> None:
        """Note what the kernel said beside a message."""
        told: cython.pointer[Told] = self._told + i
        told.segment = 0
        told.stamp = 0
        told.drops = 0
        told.tag = 0
        said: cython.pointer[cmsghdr] = CMSG_FIRSTHDR(cython.address(self._heads[i].msg_hdr))
        number = cython.declare(cython.int)
        uint = cython.declare(cython.uint)
        when = cython.declare(timespec)
        aux = cython.declare(tpacket_auxdata)
        while said != cython.NULL:
            if said.cmsg_level == SOL_UDP and said.cmsg_type == UDP_GRO:
                memcpy(cython.address(number), CMSG_DATA(said), 4)
                told.segment = number
            elif said.cmsg_level == SOL_SOCKET and said.cmsg_type == SO_TIMESTAMPNS:
                memcpy(cython.address(when), CMSG_DATA(said), cython.sizeof(timespec))
                told.stamp = when.tv_sec * 1000000000 + when.tv_nsec
            elif said.cmsg_level == SOL_SOCKET and said.cmsg_type == SO_RXQ_OVFL:
                memcpy(cython.address(uint), CMSG_DATA(said), 4)
                told.drops = uint
            elif said.cmsg_level == SOL_PACKET and said.cmsg_type == PACKET_AUXDATA:
                memcpy(cython.address(aux), CMSG_DATA(said), cython.sizeof(tpacket_auxdata))
                told.tag = _tag(aux.tp_status, aux.tp_vlan_tci, aux.tp_vlan_tpid)
            said = CMSG_NXTHDR(cython.address(self._heads[i].msg_hdr), said)

    def length(self, i: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Bytes of a message that came."""
        if cython.compiled:
            return self._heads[i].msg_len
        return self._got[i][0]

    def cut(self, i: cython.Py_ssize_t) -> cython.bint:
        """Whether it was longer than the room for it."""
        if cython.compiled:
            return self._heads[i].msg_hdr.msg_flags & MSG_TRUNC != 0
        return bool(self._got[i][1] & MSG_TRUNC)

    def segment(self, i: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """The size of the datagrams that it is made of; 0 if it is one."""
        if cython.compiled:
            return self._told[i].segment
        return self._got[i][3]

    def stamp(self, i: cython.Py_ssize_t) -> cython.ulonglong:
        """When it came, in nanoseconds since the epoch; 0 if nobody has asked the socket."""
        if cython.compiled:
            return self._told[i].stamp
        return self._got[i][4]

    def drops(self, i: cython.Py_ssize_t) -> cython.uint:
        """How many messages the socket had dropped until then, modulo 2**32; 0 if it doesn't say."""
        if cython.compiled:
            return self._told[i].drops
        return self._got[i][5]

    def tag(self, i: cython.Py_ssize_t) -> cython.uint:
        """The VLAN tag that the kernel has taken out of a frame, 16 bits, below its TPID; 0 if there was none."""
        if cython.compiled:
            return self._told[i].tag
        return self._got[i][6]

    def name(self, i: cython.Py_ssize_t) -> Any:
        """The peer's name: the bytes of a sockaddr."""
        if cython.compiled:
            size: cython.Py_ssize_t = min(self._heads[i].msg_hdr.msg_namelen, NAME)
            return self._names[i * NAME : i * NAME + size]
        return packed(self._got[i][2])


def _tag(status: cython.uint, tag: cython.uint, tpid: cython.uint) -> cython.uint:
    """TPID and tag as one number; 0 for none. Old kernels know 802.1Q alone."""
    if not status & TP_STATUS_VLAN_VALID:
        return 0
    return (tpid if status & TP_STATUS_VLAN_TPID_VALID else ETH_P_8021Q) << 16 | tag
