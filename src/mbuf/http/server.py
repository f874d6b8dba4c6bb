"""A static file server: HTTP/1.1 over asyncio, files sent as chains of their pages.

However large the files and however many slow clients: a client that takes bytes has a piece of a file in mbufs,
one that doesn't has none, and where there are none left it waits for some. Reads no file.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11

from mbuf.errors import MbufError, NoBufs, NoMemory
from mbuf.http.connection import Connection
from mbuf.http.docroot import DocRoot
from mbuf.http.response import Response, answer, refusal
from mbuf.net.stream.sendfile import Transfer
from mbuf.net.writable import wait_writable
from mbuf.packet.mbuf import Mbuf
from mbuf.pool.pool import Pool

#: Bytes of a file that a client has in mbufs: 53 of those. With few mbufs left, as little as the other.
PIECE = 1 << 20
LEAST = 4096

#: Seconds for which mbufs wait for a client to take more.
_HOLD = 0.05

#: Seconds after which it is looked again for mbufs that somebody outside of the server let go of.
_AGAIN = 0.05

#: Why a client can't be accepted now: it has gone, or there are no descriptors or no memory.
_PASSING = frozenset({errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Served:
    """One request, answered or not."""

    peer: str
    method: str
    target: str
    status: int
    #: Bytes that went, head and all.
    bytes: int
    seconds: float
    #: Why not all of it went; empty if it did.
    fault: str


@dataclass(slots=True)
class Totals:
    """What a server did so far."""

    connections: int = 0
    requests: int = 0
    bytes: int = 0
    #: Requests that were not answered as a whole.
    broken: int = 0
    #: Pieces that had to wait for mbufs.
    waits: int = 0
    #: The most mbufs of the pool that were in use.
    peak: int = 0


class FileServer:
    """A server of the files beneath a folder, whose mbufs are the pool's. `serve` a listening socket; then `close`.

    A client that does nothing for `patience` seconds is let go of. More than `most` connections wait to be
    accepted. `tell` is called with each request when it is over.
    """

    def __init__(
        self,
        pool: Pool,
        root: str | os.PathLike[str],
        patience: float = 15.0,
        most: int = 256,
        tell: Callable[[Served], object] | None = None,
    ) -> None:
        self.pool = pool
        self.totals = Totals()
        self._tree = DocRoot(root)
        self._patience = patience
        self._places = asyncio.Semaphore(most)
        self._tell = tell
        self._freed = asyncio.Event()

    def close(self) -> None:
        """Let go of the folder."""
        self._tree.close()

    async def serve(self, listener: socket.socket) -> None:
        """Serve whoever connects, until this is cancelled; then everybody is let go of at once."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                await self._places.acquire()
                try:
                    sock, peer = await asyncio.get_running_loop().sock_accept(listener)
                except OSError as error:
                    self._places.release()
                    if error.errno not in _PASSING:
                        raise
                    await asyncio.sleep(_AGAIN)
                    continue
                task = asyncio.create_task(self._client(sock, peer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(lambda _: self._places.release())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _client(self, sock: socket.socket, peer: Any) -> None:
        self.totals.connections += 1
        with sock, suppress(OSError):
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            talk = Connection(sock, self._patience)
            name = str(peer[0]) if peer else "-"
            while await self._exchange(talk, sock, name):
                talk.again()

    async def _exchange(self, talk: Connection, sock: socket.socket, peer: str) -> bool:
        """Read a request and answer it; true if the client may ask again."""
        method, target = "-", "-"
        try:
            request = await talk.request()
        except h11.RemoteProtocolError as error:
            reply = refusal(error.error_status_hint)
        else:
            if request is None:
                return False
            method, target = request.method.decode(), request.target.decode()
            fields = {name.decode(): value.decode("latin-1") for name, value in request.headers}
            reply = answer(self._tree, request.method, request.target, fields)
        account = _Account(peer, method, target, reply.status, time.monotonic())
        try:
            with closing(reply):
                await self._reply(talk, sock, reply, account)
        except (OSError, MbufError) as error:
            account.fault = "too slow" if isinstance(error, TimeoutError) else str(error)
            return False
        except asyncio.CancelledError:
            account.fault = "stopped"
            raise
        finally:
            self._note(account)
        await talk.part()
        return talk.goes_on

    def _note(self, account: _Account) -> None:
        totals = self.totals
        totals.requests += 1
        totals.bytes += account.bytes
        totals.broken += account.fault != ""
        if self._tell is not None:
            self._tell(account.served())

    async def _reply(self, talk: Connection, sock: socket.socket, reply: Response, account: _Account) -> None:
        """Send head and body, a piece at a time."""
        head, count = talk.head(reply)
        with self.pool.file(reply.fd) if reply.fd >= 0 else nullcontext() as file:
            # It has a descriptor of its own.
            reply.close()

            def take(at: int, n: int) -> Mbuf:
                if file is None:
                    return self.pool.frombytes(reply.text[at : at + n])
                return file.getm(reply.start + at, n)

            at = 0
            while head or at < count:
                m = await self._piece(head, min(PIECE, count - at), partial(take, at))
                went = await self._send(sock, m, account)
                body = max(went - len(head), 0)
                head = head[went:]
                at += body
                talk.body(body)
        talk.end()

    async def _piece(self, head: bytes, n: int, take: Callable[[int], Mbuf]) -> Mbuf:
        """A chain of the head, if any, and `n` bytes, or as many fewer as there are mbufs for; waits for those."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                m = self._joined(head, n, take)
            except (NoBufs, NoMemory):
                if n > LEAST:
                    n = max(n // 2, LEAST)
                    continue
                if time.monotonic() > deadline:
                    raise
            else:
                self.totals.peak = max(self.totals.peak, self.pool.out)
                return m
            self.totals.waits += 1
            self._freed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), _AGAIN)

    def _joined(self, head: bytes, n: int, take: Callable[[int], Mbuf]) -> Mbuf:
        if not head:
            return take(n)
        m = self.pool.frombytes(head)
        try:
            if n:
                m.cat(take(n)).fixhdr()
        except BaseException:
            m.freem()
            raise
        return m

    async def _send(self, sock: socket.socket, m: Mbuf, account: _Account) -> int:
        """Send a chain, or as much as the client takes, and free it; the mbufs don't wait with a slow client."""
        transfer = Transfer(m)
        slow = False
        try:
            await transfer.asend(sock, _HOLD)
        except TimeoutError:
            slow = True
        finally:
            account.bytes += transfer.sent
            m.freem()
            self._freed.set()
        if slow:
            async with asyncio.timeout(self._patience):
                await wait_writable(sock)
        return transfer.sent


@dataclass(slots=True)
class _Account:
    """A request while it is served."""

    peer: str
    method: str
    target: str
    status: int
    begun: float
    bytes: int = 0
    fault: str = ""

    def served(self) -> Served:
        seconds = time.monotonic() - self.begun
        return Served(self.peer, self.method, self.target, self.status, self.bytes, seconds, self.fault)
