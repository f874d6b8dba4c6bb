"""Chains sent through stream sockets: mbufs by sendmsg, pages of files by sendfile(2).

No byte of a file enters the process. The chain stays the caller's, and as it is; it must not be changed
before all of it went. What a socket doesn't take at once waits: nothing is copied to be sent later.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from typing import TYPE_CHECKING

from mbuf.const import M_EXTPG, M_NOTREADY
from mbuf.errors import Inval, MbufError, NotSupported
from mbuf.packet.pages import file_run, views_outside_file

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.vm.pagefile import PageFile

#: Pieces of one sendmsg, and bytes after which no piece is added: a socket takes hardly more at once.
_IOV_MAX = os.sysconf("SC_IOV_MAX")
_BATCH = 1 << 18

#: Bytes of a file for one sendfile: what the kernel does in one call, and what it may do before others get their turn.
_MOST = 0x7FFFF000
_TURN = 1 << 20


def sendfile(sock: socket.socket, m: Mbuf, offset: int = 0) -> int:
    """Send a chain from byte `offset` on; returns how many bytes went.

    A blocking socket sends all; with a timeout it raises `TimeoutError` when nothing went for so long. One that
    doesn't block takes what it can, and raises `BlockingIOError` if that is nothing. `Inval` if a file has
    become shorter meanwhile, or bytes aren't ready (M_NOTREADY). See sendfile(2).
    """
    check(sock)
    transfer = Transfer(m, offset)
    try:
        _send_all(sock, transfer)
    except MbufError as error:
        if transfer.sent and sock.gettimeout() == 0:
            # As for any other call that went half the way: the next one has the error.
            return transfer.sent
        error.add_note(f"{transfer.sent} bytes went before")
        raise
    return transfer.sent


async def asendfile(sock: socket.socket, m: Mbuf, offset: int = 0) -> int:
    """`sendfile`, of all, by a socket that doesn't block, in an asyncio loop; returns how many bytes went.

    Nobody else may wait to write to the socket meanwhile. Cancelled, it leaves nothing behind but the bytes
    that went: with a `Transfer` of one's own, `sent` tells how many.
    """
    transfer = Transfer(m, offset)
    await transfer.drive(sock)
    return transfer.sent


class Transfer:
    """A chain on its way: `step` sends some of it, `drive` all, `sent` is how many bytes went so far."""

    __slots__ = ("_at", "_m", "_run", "sent")

    def __init__(self, m: Mbuf, offset: int = 0) -> None:
        self._m: Mbuf | None
        self._m, self._at = m.getptr(offset)
        self._run: _Run | None = None
        self.sent = 0

    @property
    def done(self) -> bool:
        """True when all has gone."""
        m, at = self._m, self._at
        while m is not None and at >= m.len:
            at -= m.len
            m = m.next
        self._m, self._at = m, at
        return m is None

    def step(self, sock: socket.socket, most: int = _MOST) -> int:
        """Make one call to the kernel, for at most `most` bytes of a file; returns how many bytes went.

        Raises what the socket does, and `Inval` if the file has become shorter; then none went.
        """
        if self.done or self._m is None:
            return 0
        _ready(self._m)
        if self._run is None:
            found = file_run(self._m, self._at)
            self._run = None if found is None else _Run(*found)
        count = self._send_views(sock) if self._run is None else self._send_pages(sock, self._run, most)
        self.sent += count
        return count

    async def drive(self, sock: socket.socket, patience: float | None = None) -> None:
        """Send all of it, with turns for others in between; `TimeoutError` if nothing went for so many seconds."""
        check(sock)
        if sock.gettimeout() != 0:
            raise Inval("asendfile: the socket would block the loop: call setblocking(False)")
        while not self.done:
            try:
                self.step(sock, _TURN)
            except BlockingIOError:
                async with asyncio.timeout(patience):
                    await writable(sock)
            else:
                await asyncio.sleep(0)

    def _send_pages(self, sock: socket.socket, run: _Run, most: int) -> int:
        # Of a cut file sendfile(2) would send what there is, and then nothing, for ever.
        run.file.require_size(run.start + run.left)
        count = os.sendfile(sock.fileno(), run.file.fd, run.start, min(run.left, most))
        run.start += count
        run.left -= count
        if run.left == 0:
            self._m, self._at, self._run = run.next, run.at, None
        return count

    def _send_views(self, sock: socket.socket) -> int:
        views, more = self._views()
        try:
            count = sock.sendmsg(views, (), socket.MSG_MORE if more else 0)
        finally:
            # Who looks at the traceback mustn't keep the memory.
            views.clear()
        self._at += count
        return count

    def _views(self) -> tuple[list[memoryview], bool]:
        """Pieces that aren't in files, as many as go at once, and whether anything comes after them."""
        views: list[memoryview] = []
        m, at, size = self._m, self._at, 0
        while m is not None and size < _BATCH:
            _ready(m)
            pieces = views_outside_file(m, at) if m.flags & M_EXTPG else [m.data[at:]] if at < m.len else []
            if len(views) + len(pieces) > _IOV_MAX:
                break
            views += pieces
            count = sum(map(len, pieces))
            size += count
            if at + count < m.len:
                break
            m, at = m.next, 0
        while m is not None and not m.len:
            m = m.next
        return views, m is not None


class _Run:
    """Bytes of a file in a row, and where the chain goes on after them."""

    __slots__ = ("at", "file", "left", "next", "start")

    def __init__(self, file: PageFile, start: int, left: int, next: Mbuf | None, at: int) -> None:
        self.file = file
        self.start = start
        self.left = left
        self.next = next
        self.at = at


def check(sock: socket.socket) -> None:
    """Refuse what no file can be sent through."""
    if not isinstance(sock, socket.socket):
        raise Inval(f"sendfile: {sock!r} is no socket.socket")
    if hasattr(sock, "do_handshake"):
        raise NotSupported(
            "sendfile: a TLS socket encrypts what it sends: send its pieces, as in sock.sendall(bytes(m))"
        )
    if sock.type != socket.SOCK_STREAM:
        raise NotSupported("sendfile: only stream sockets send files")


def _ready(m: Mbuf) -> None:
    """Refuse a TLS record that isn't encrypted yet, and bytes that are still to be read."""
    if m.flags & M_NOTREADY:
        raise Inval("sendfile: the chain has bytes that aren't ready: they are still to be encrypted, or read")


def _send_all(sock: socket.socket, transfer: Transfer) -> None:
    """Send, and wait as the socket would."""
    timeout = sock.gettimeout()
    while not transfer.done:
        try:
            transfer.step(sock)
        except BlockingIOError:
            if timeout == 0 and transfer.sent:
                return
            if not timeout:
                raise
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            if not poll.poll(timeout * 1000):
                raise TimeoutError(f"timed out: {transfer.sent} bytes went") from None


async def writable(sock: socket.socket) -> None:
    """Wait, in a loop, until the socket takes more."""
    loop = asyncio.get_running_loop()
    free: asyncio.Future[None] = loop.create_future()
    fd = sock.fileno()
    loop.add_writer(fd, _wake, free)
    try:
        await free
    finally:
        loop.remove_writer(fd)


def _wake(free: asyncio.Future[None]) -> None:
    if not free.done():
        free.set_result(None)
