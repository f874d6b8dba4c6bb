"""A stream socket, TCP or Unix, as a port: chains come out of it and go into it.

Reads go straight into clusters, several at once, as large as the last read makes worth while; an idle socket
holds none. Writes are sendmsg of whole batches. Nothing blocks, and nothing is copied but small rests.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from mbuf.errors import Inval, NoBufs, NoMemory, NotSupported
from mbuf.net.intake import Intake, rooms_of
from mbuf.packet.sockbuf import SockBuf, views_of

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Pieces of one sendmsg, and bytes after which no piece is added: a socket takes hardly more at once.
IOV_MAX = os.sysconf("SC_IOV_MAX")
BATCH = 1 << 18


class StreamPort:
    """A connected stream socket, which is the port's from then on, and doesn't block.

    `pull` and `push` are those of any port; `recv` and `send` know that bytes have no borders. `eof` is True when
    the other side will send no more. Errors of the socket are raised as they come, an `OSError`.
    """

    __slots__ = ("_error", "_intake", "eof", "out", "pool", "sock")

    def __init__(self, pool: Pool, sock: socket.socket) -> None:
        check(sock)
        sock.setblocking(False)
        self.pool = pool
        self.sock = sock
        self.eof = False
        #: What is left of a packet that went in part.
        self.out = SockBuf()
        self._intake = Intake(pool)
        self._error: OSError | None = None

    def fileno(self) -> int:
        """The socket's, for whoever waits."""
        return self.sock.fileno()

    # In.

    def recv(self, most: int = BATCH) -> Mbuf | None:
        """The bytes of one read, at most `most`: a chain, which is the caller's. None if there are none now: see `eof`.

        Raises `NoBufs` or `NoMemory` when there is no mbuf to read into: nothing was read, and nothing is lost.
        """
        if most < 1:
            raise Inval(f"recv: {most} bytes: give 1 or more")
        self._complain()
        if self.eof:
            return None
        asked = min(self._intake.size, most)
        m = self._intake.room(asked)
        got = 0
        try:
            got = _read(self.sock, m, asked)
            self.eof = got == 0
        except BlockingIOError:
            pass
        finally:
            if not got:
                m.freem()
        return self._intake.filled(m, got, asked) if got else None

    def pull(self, n: int = 1) -> list[Mbuf]:
        """What `n` reads give, or fewer: chains, which are the caller's. None of them is empty.

        Raises like `recv`, but only if there is nothing to return.
        """
        chains: list[Mbuf] = []
        while len(chains) < n:
            asked = self._intake.size
            try:
                m = self.recv()
            except (NoBufs, NoMemory):
                if chains:
                    break
                raise
            except OSError as error:
                if not chains:
                    raise
                self._error = error
                break
            if m is None:
                break
            chains.append(m)
            if len(m) < asked:
                break
        return chains

    def _complain(self) -> None:
        """Raise what was met after some of the bytes of the last call had moved."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    # Out.

    def send(self, buffer: SockBuf) -> int:
        """Send what is in a buffer, as far as the socket takes it; how many bytes went, which are freed."""
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
        """Send packets, as far as the socket takes them; how many of the first ones went, which are freed.

        The others stay the caller's. What is left of one that went in part stays here, and goes first: see `flush`.
        """
        self._complain()
        went = 0
        while self.flush() and went < len(packets):
            views: list[memoryview] = []
            size = 0
            for m in packets[went : went + IOV_MAX]:
                if len(views) >= IOV_MAX or size >= BATCH:
                    break
                views += views_of(m, IOV_MAX - len(views), BATCH - size)
                size += len(m)
            try:
                sent = self._write(views) if views else 0
            except OSError as error:
                if not went:
                    raise
                self._error = error
                break
            done = self._settle(packets, went, sent)
            if done == went:
                break
            went = done
        return went

    def _settle(self, packets: list[Mbuf], went: int, sent: int) -> int:
        """Free what has gone, and keep the rest of what has gone in part; how many packets have gone then."""
        while went < len(packets):
            size = len(packets[went])
            if size > sent:
                if sent:
                    self.out.append(packets[went])
                    self.out.drop(sent)
                    went += 1
                return went
            packets[went].freem()
            sent -= size
            went += 1
        return went

    def flush(self) -> bool:
        """Send what is left of a packet that went in part; True when nothing is."""
        if self.out:
            self.send(self.out)
        return not self.out

    def _write(self, views: list[memoryview]) -> int:
        try:
            return self.sock.sendmsg(views, (), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        finally:
            views.clear()

    def shutdown(self) -> None:
        """Tell the other side that nothing more will come. What is in `out` is to be flushed before."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket, and free what hasn't gone."""
        self.out.clear()
        self.sock.close()


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
