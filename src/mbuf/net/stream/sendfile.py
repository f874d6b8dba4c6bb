"""Chains sent through stream sockets: mbufs by sendmsg(2), pages of files by sendfile(2).

A chain may mix mbufs in memory with mbufs whose pages are a file's (M_EXTPG, see `pool.file`). A `Transfer` is the
position in such a chain, and each call of `send` makes one system call for what comes next:

    [header] -> [pages of a file] -> [pages of the same file] -> [trailer] -> [pages in memory]
    sendmsg     sendfile, one call for both                      sendmsg, one call for both

Memory is passed as views of the mbufs, up to IOV_MAX in one call, with MSG_MORE if bytes of a file follow, so that TCP
sends a header and the file's first bytes in one segment. Pages of a file are never mapped: the kernel sends them from
its page cache, and no byte of the file enters the process. Mbufs that continue in the file where the last one ends are
one call, whatever they were cut into (`file_run`). An mbuf of unmapped pages may have a header and a trailer of its own
around them; those are memory.

The chain still belongs to the caller, and isn't changed. It must not be changed before all is sent, since a transfer
holds references to mbufs in it; a freed mbuf raises `Freed`. A socket may accept a part of what is offered, in the
middle of an mbuf or of a page: the transfer continues there. Nothing is copied to be sent later.

Two things are checked before each call. A file may have become shorter than the pages that refer to it: sendfile(2)
would send what there is, then 0 bytes each time, so a loop around it would never end; `Inval` is raised instead. And
bytes with M_NOTREADY (a TLS record that isn't encrypted yet) are refused: they would be sent unencrypted.

A socket may be writable and accept nothing, because the system has no memory: then the next try follows after 5 ms.

`sendfile` waits as the socket's timeout says. `asendfile` waits in an asyncio loop, and lets other tasks run after each
call, which sends at most 1 MiB of a file.
"""

from __future__ import annotations

import asyncio
import os
import socket
from time import sleep
from typing import TYPE_CHECKING

from mbuf.const import M_EXTPG
from mbuf.errors import MbufError
from mbuf.net.linux import IOV_MAX
from mbuf.net.port.rules import check_mbuf_ready
from mbuf.net.sockets import check_nonblocking, check_stream_socket
from mbuf.net.writable import RETRY_DELAY, poll_writable, wait_writable
from mbuf.packet.pages import file_run, views_outside_file

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.vm.pagefile import PageFile

#: Bytes after which no mbuf is added to one call of sendmsg: a socket hardly accepts more at once.
_BATCH_BYTES = 1 << 18

#: The most bytes of one sendfile(2): the kernel's MAX_RW_COUNT.
_MAX_RW_COUNT = 0x7FFFF000

#: The most bytes of one sendfile(2) in an asyncio loop, before other tasks run.
_ASYNC_COUNT = 1 << 20


def sendfile(sock: socket.socket, m: Mbuf, offset: int = 0) -> int:
    """Send a chain from byte `offset` on; return the number of bytes sent. See sendfile(2).

    The chain still belongs to the caller. Nothing is copied. A blocking socket sends all; if it has a timeout and
    accepts nothing for so long, `TimeoutError` is raised. A non-blocking socket sends what it accepts at once, and
    raises `BlockingIOError` if that is nothing: call again with `offset` increased by what was sent.

    Raises `NotSupported` for a socket that isn't a stream socket or that does TLS; `Inval` for an offset outside the
    chain, if a file has become shorter, or if bytes aren't ready (M_NOTREADY); `Freed`; and `OSError`. The attribute
    `sent` of an exception while the chain was sent is the number of bytes that were sent before, and a note says it. A
    non-blocking socket returns their number instead of an error of this library, and the next call raises the error.
    """
    check_stream_socket("sendfile", sock)
    transfer = Transfer(m, offset)
    try:
        _send_all(sock, transfer)
    except BaseException as error:
        if transfer.sent and isinstance(error, MbufError) and sock.gettimeout() == 0:
            return transfer.sent
        _add_sent(error, transfer)
        raise
    return transfer.sent


async def asendfile(sock: socket.socket, m: Mbuf, offset: int = 0) -> int:
    """Send a chain from byte `offset` on in an asyncio loop; return the number of bytes sent, which is all of them.

    The socket must be non-blocking. Raises what `sendfile` raises, with the same attribute `sent`. A task that is
    cancelled has sent some bytes; use a `Transfer`, whose `sent` is their number, to continue later.
    """
    transfer = Transfer(m, offset)
    try:
        await transfer.asend(sock)
    except BaseException as error:
        _add_sent(error, transfer)
        raise
    return transfer.sent


class Transfer:
    """The sending of a chain from byte `offset` on, in as many calls as needed.

    The chain belongs to the caller, who must not change or free it before `done`. Raises `Inval` for an offset outside
    the chain.
    """

    __slots__ = ("_m", "_off", "_run", "sent")

    def __init__(self, m: Mbuf, offset: int = 0) -> None:
        # The next byte: the mbuf, and the offset in it.
        self._m: Mbuf | None
        self._m, self._off = m.getptr(offset)
        # The run of a file that the next byte is in, once it has been looked for.
        self._run: _FileRun | None = None
        #: The number of bytes sent so far.
        self.sent = 0

    @property
    def done(self) -> bool:
        """True when all bytes are sent."""
        m, off = self._m, self._off
        while m is not None and off >= m.len:
            off -= m.len
            m = m.next
        self._m, self._off = m, off
        return m is None

    def send(self, sock: socket.socket, nbytes: int = _MAX_RW_COUNT) -> int:
        """Make one system call, for at most `nbytes` bytes of a file; return the number of bytes sent.

        Raises `BlockingIOError` and other errors of the socket, `Inval` if the file has become shorter or bytes aren't
        ready, and `Freed`; then nothing was sent by this call.
        """
        if self.done or self._m is None:
            return 0
        check_mbuf_ready("sendfile", self._m)
        if self._run is None:
            found = file_run(self._m, self._off)
            self._run = None if found is None else _FileRun(*found)
        count = self._send_views(sock) if self._run is None else self._send_pages(sock, self._run, nbytes)
        self.sent += count
        return count

    async def asend(self, sock: socket.socket, timeout: float | None = None) -> None:
        """Send all bytes in an asyncio loop, in which other tasks run meanwhile.

        The socket must be non-blocking. Raises `TimeoutError` if it accepts nothing for `timeout` seconds, and what
        `sendfile` raises; `sent` is right then, too.
        """
        check_stream_socket("asendfile", sock)
        check_nonblocking("asendfile", sock)
        waited = False
        while not self.done:
            try:
                self.send(sock, _ASYNC_COUNT)
            except BlockingIOError:
                if waited:
                    await asyncio.sleep(RETRY_DELAY)
                else:
                    async with asyncio.timeout(timeout):
                        await wait_writable(sock)
                waited = not waited
            else:
                waited = False
                await asyncio.sleep(0)

    def _send_pages(self, sock: socket.socket, run: _FileRun, nbytes: int) -> int:
        run.file.require_size(run.start + run.left)
        count = os.sendfile(sock.fileno(), run.file.fd, run.start, min(run.left, nbytes))
        run.start += count
        run.left -= count
        if run.left == 0:
            self._m, self._off, self._run = run.next, run.off, None
        return count

    def _send_views(self, sock: socket.socket) -> int:
        views, more = self._views()
        try:
            count = sock.sendmsg(views, (), socket.MSG_MORE if more else 0)
        finally:
            # A traceback mustn't keep the memory in use.
            views.clear()
        self._off += count
        return count

    def _views(self) -> tuple[list[memoryview], bool]:
        """Return views of the bytes before the next page of a file, at most for one call; and whether more follow."""
        views: list[memoryview] = []
        m, off, size = self._m, self._off, 0
        while m is not None and size < _BATCH_BYTES:
            check_mbuf_ready("sendfile", m)
            pieces = views_outside_file(m, off) if m.flags & M_EXTPG else [m.data[off:]] if off < m.len else []
            if len(views) + len(pieces) > IOV_MAX:
                break
            views += pieces
            count = sum(map(len, pieces))
            size += count
            if off + count < m.len:
                break
            m, off = m.next, 0
        while m is not None and not m.len:
            m = m.next
        return views, m is not None


class _FileRun:
    """Contiguous bytes of a file that are to be sent, and where the chain continues: an mbuf, and an offset in it."""

    __slots__ = ("file", "left", "next", "off", "start")

    def __init__(self, file: PageFile, start: int, left: int, next: Mbuf | None, off: int) -> None:
        self.file = file
        self.start = start
        self.left = left
        self.next = next
        self.off = off


def _add_sent(error: BaseException, transfer: Transfer) -> None:
    """Tell in an exception how many bytes were sent before."""
    error.sent = transfer.sent  # type: ignore[attr-defined]
    if transfer.sent:
        error.add_note(f"{transfer.sent} bytes were sent before")


def _send_all(sock: socket.socket, transfer: Transfer) -> None:
    """Send all bytes, and wait as long as the socket's timeout says."""
    timeout = sock.gettimeout()
    waited = False
    while not transfer.done:
        try:
            transfer.send(sock)
            waited = False
        except BlockingIOError:
            if timeout == 0 and transfer.sent:
                return
            if not timeout:
                raise
            if waited:
                sleep(RETRY_DELAY)
            elif not poll_writable(sock, timeout):
                raise TimeoutError(f"sendfile: timed out after {transfer.sent} bytes") from None
            waited = not waited
