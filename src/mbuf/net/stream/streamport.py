"""A stream socket, TCP or Unix, as a port: chains come out of it and go into it.

Reads go straight into clusters, several at once, as large as the last read makes worth while; an idle socket
holds none. Writes are sendmsg of whole batches. Nothing blocks, and nothing is copied but small rests.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from mbuf.errors import Inval, NoBufs, NoMemory, NotSupported
from mbuf.net.port.port import Port, PortStat
from mbuf.net.stream.read_sizer import ReadSizer, rooms_of
from mbuf.packet.sockbuf import SockBuf, views_of

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Pieces of one sendmsg, and bytes after which no piece is added: a socket takes hardly more at once.
IOV_MAX = os.sysconf("SC_IOV_MAX")
BATCH = 1 << 20

#: Bytes of one read, unless more are asked for.
MOST = 1 << 18


class StreamPort(Port):
    """A connected stream socket. It doesn't block while the port has it, and stays its owner's.

    `pull` and `push` are those of any port; `recv` and `send` know that bytes have no borders. `eof` is True when
    the other side will send no more. Errors of the socket are raised as they come, an `OSError`.
    """

    __slots__ = (
        "_before",
        "_bytes",
        "_calls",
        "_closed",
        "_error",
        "_intake",
        "_packets",
        "_short",
        "eof",
        "out",
        "sock",
    )

    def __init__(self, pool: Pool, sock: socket.socket) -> None:
        check(sock)
        self._before = sock.gettimeout()
        sock.setblocking(False)
        self.sock = sock
        self.eof = False
        #: What is left of a packet that went in part.
        self.out = SockBuf()
        self._intake = ReadSizer(pool)
        self._closed = False
        self._error: OSError | None = None
        # Chains, bytes and calls, in and out; and how often the pool refused.
        self._packets = [0, 0]
        self._bytes = [0, 0]
        self._calls = [0, 0]
        self._short = 0

    def stat(self) -> PortStat:
        """All its numbers, at this moment: a chain that a read gave is a packet."""
        return PortStat(
            packets_in=self._packets[0],
            bytes_in=self._bytes[0],
            packets_out=self._packets[1],
            bytes_out=self._bytes[1],
            short=self._short,
            calls_in=self._calls[0],
            calls_out=self._calls[1],
        )

    def fileno(self) -> int:
        """The socket's, for whoever waits."""
        return self.sock.fileno()

    # In.

    def recv(self, most: int = MOST) -> Mbuf | None:
        """The bytes of one read, at most `most`: a chain, which is the caller's. None if there are none now: see `eof`.

        Raises `NoBufs` or `NoMemory` when there is no mbuf to read into: nothing was read, and nothing is lost.
        """
        if most < 1:
            raise Inval(f"recv: {most} bytes: give 1 or more")
        self._complain("recv")
        if self.eof:
            return None
        asked = min(self._intake.size, most)
        try:
            m = self._intake.room(asked)
        except (NoBufs, NoMemory):
            self._short += 1
            raise
        got = 0
        self._calls[0] += 1
        try:
            got = _read(self.sock, m, asked)
            self.eof = got == 0
        except BlockingIOError:
            pass
        finally:
            if not got:
                m.freem()
        if not got:
            return None
        self._packets[0] += 1
        self._bytes[0] += got
        return self._intake.filled(m, got, asked)

    def pull(self, n: int) -> list[Mbuf]:
        """What `n` reads give, or fewer, or none: chains, which are the caller's. None of them is empty.

        Where the pool refuses, nothing is read and nothing lost: `stat().short` counts that.
        """
        if n < 0:
            raise Inval(f"pull: {n} packets: give 0 or more")
        chains: list[Mbuf] = []
        more = True
        while more and len(chains) < n:
            asked = min(self._intake.size, MOST)
            try:
                m = self.recv()
            except (NoBufs, NoMemory):
                break
            except OSError as error:
                if not chains:
                    raise
                self._error = error
                break
            if m is not None:
                chains.append(m)
            more = m is not None and len(m) >= asked
        return chains

    def _complain(self, verb: str) -> None:
        """Raise what was met after some of the bytes of the last call had moved."""
        if self._closed:
            raise Inval(f"{verb}: this port is closed")
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    # Out.

    def send(self, buffer: SockBuf) -> int:
        """Send what is in a buffer, as far as the socket takes it; how many bytes went, which are freed."""
        self._complain("send")
        if buffer is not self.out and not self.flush():
            return 0
        sent = 0
        while buffer:
            views = buffer.views(IOV_MAX, BATCH)
            offered = sum(map(len, views))
            count = self._write(views)
            buffer.drop(count)
            sent += count
            if count < offered:
                break
        return sent

    def push(self, packets: list[Mbuf]) -> int:
        """Send packets, as far as the socket takes them; how many of the first ones went.

        Those are freed, and taken out of the list; the others stay the caller's. What is left of one that went in part
        stays here, and goes first: see `flush`.
        """
        if not isinstance(packets, list):
            raise TypeError("push: give a list, out of which the packets are taken that went")
        self._complain("push")
        went = 0
        try:
            while packets and self.flush():
                done = self._settle(packets, self._send_first(packets))
                if not done:
                    break
                went += done
        except OSError as error:
            if not went:
                raise
            self._error = error
        self._packets[1] += went
        return went

    def _send_first(self, packets: list[Mbuf]) -> int:
        """Send as many packets as go in one call; how many bytes went."""
        views: list[memoryview] = []
        size = 0
        for m in packets[:IOV_MAX]:
            if len(views) >= IOV_MAX or size >= BATCH:
                break
            views += views_of(m, IOV_MAX - len(views), BATCH - size)
            size += len(m)
        return self._write(views) if views else 0

    def _settle(self, packets: list[Mbuf], sent: int) -> int:
        """Free what has gone, keep the rest of what has gone in part; how many packets left the list."""
        went = 0
        for m in packets:
            size = len(m)
            if size > sent:
                if sent:
                    self.out.append(m)
                    self.out.drop(sent)
                    went += 1
                break
            m.freem()
            sent -= size
            went += 1
        del packets[:went]
        return went

    def flush(self) -> bool:
        """Send what is left of a packet that went in part; True when nothing is."""
        if self.out:
            self.send(self.out)
        return not self.out

    def _write(self, views: list[memoryview]) -> int:
        self._calls[1] += 1
        try:
            count = self.sock.sendmsg(views, (), socket.MSG_NOSIGNAL)
            self._bytes[1] += count
            return count
        except BlockingIOError:
            return 0
        finally:
            views.clear()

    def shutdown(self) -> None:
        """Tell the other side that nothing more will come. What is in `out` is to be flushed before."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Free what hasn't gone. The socket stays open, and blocks as it did before."""
        if self._closed:
            return
        self._closed = True
        self.out.clear()
        if self.sock.fileno() >= 0:
            self.sock.settimeout(self._before)


def check(sock: socket.socket) -> None:
    """Refuse what is no stream of plain bytes."""
    if not isinstance(sock, socket.socket):
        raise Inval(f"{sock!r} is no socket.socket")
    if hasattr(sock, "do_handshake"):
        raise NotSupported("a TLS socket can't read into mbufs: give MbufProtocol to an asyncio loop, which does TLS")
    if sock.type != socket.SOCK_STREAM:
        raise NotSupported("only a stream socket is a StreamPort")


def _read(sock: socket.socket, m: Mbuf, asked: int) -> int:
    """Read at most `asked` bytes into empty mbufs; how many came."""
    rooms = rooms_of(m, asked)
    try:
        return sock.recv_into(rooms[0]) if len(rooms) == 1 else sock.recvmsg_into(rooms)[0]
    finally:
        # Who looks at a traceback mustn't keep the memory.
        rooms.clear()
