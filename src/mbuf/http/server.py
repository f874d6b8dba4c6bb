"""A static file server: HTTP/1.1 over asyncio. Files are sent as chains of their pages, by sendfile(2).

A file is sent in pieces. A piece is a chain of mbufs that refer to pages of the file; no byte of it is read. It exists
only while the client takes bytes: if the client takes none for `_SLOW_AFTER` seconds, the chain is freed, and what is
left of it is built again when the socket is writable. So a client that takes bytes has one piece in mbufs, a slow one
none, and the memory depends neither on the sizes of files nor on the number of stalled clients. If the pool has too few
mbufs for a piece, a smaller one is tried, down to `MIN_PIECE`; then the request waits until mbufs are freed.
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
from mbuf.fielddocs import documented
from mbuf.http.connection import Connection
from mbuf.http.docroot import DocRoot
from mbuf.http.response import Response, respond, status_response
from mbuf.net.sockets import check_pool
from mbuf.net.stream.sendfile import Transfer
from mbuf.net.writable import wait_writable
from mbuf.packet.mbuf import Mbuf
from mbuf.pool.pool import Pool
from mbuf.vm.log_errors import LogErrors

#: Bytes of a file in the mbufs of one client: at most MAX_PIECE, in 53 mbufs; MIN_PIECE where mbufs are short.
MAX_PIECE = 1 << 20
MIN_PIECE = 4096

#: Seconds after which the mbufs of a client that takes nothing are freed.
_SLOW_AFTER = 0.05

#: Seconds until something is tried again: to get mbufs, which other users of the pool free without telling; to accept.
_RETRY_DELAY = 0.05

#: Errors of accept(2) that pass: the client has closed the connection, or there are no descriptors or no memory.
_TRANSIENT = frozenset({errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@documented
@dataclass(slots=True)
class AccessLogEntry:
    """One request, and what became of it."""

    #: The client's host; - for a Unix socket.
    peer: str
    #: The request's method; - if the request isn't valid.
    method: str
    #: The request's target; - if the request isn't valid.
    target: str
    #: The response's status code.
    status: int
    #: Bytes that were sent, with the header section.
    bytes: int = 0
    #: Seconds that sending the response took.
    seconds: float = 0.0
    #: Why the response wasn't sent to its end; empty if it was.
    error: str = ""


@documented
@dataclass(slots=True)
class Totals:
    """The counters of a server: `server.totals`."""

    #: Connections that were accepted.
    connections: int = 0
    #: Requests that have ended, in whatever way.
    requests: int = 0
    #: Bytes that were sent, with header sections.
    bytes: int = 0
    #: Requests whose response wasn't sent to its end.
    failed: int = 0
    #: Times that a request waited for mbufs.
    waits: int = 0
    #: The most mbufs of the pool in use after a piece was built.
    peak: int = 0


class FileServer:
    """A server of the files below a folder: GET and HEAD, one range, preconditions, persistent connections.

    Await `serve(listener)`, and `close` it afterwards. The mbufs come from `pool`, and all are freed when `serve` ends.
    `root` is the folder; symbolic links that lead out of it aren't followed. A client that sends no request, or takes
    none of its response, for `timeout` seconds is disconnected, and a request waits as long for mbufs. There are at
    most `max_connections` connections; more clients wait in the listener's backlog. `on_request` is called with the
    entry of each request when its response has been sent; exceptions that it raises are logged. No byte of a file is
    read or copied. Raises `OSError` if the folder can't be opened.
    """

    def __init__(
        self,
        pool: Pool,
        root: str | os.PathLike[str],
        timeout: float = 15.0,
        max_connections: int = 256,
        on_request: Callable[[AccessLogEntry], object] | None = None,
    ) -> None:
        check_pool("FileServer", pool)
        self.pool = pool
        #: The counters.
        self.totals = Totals()
        self._docroot = DocRoot(root)
        self._timeout = timeout
        self._slots = asyncio.Semaphore(max_connections)
        self._on_request = on_request
        # Set whenever mbufs of a request were freed.
        self._freed = asyncio.Event()

    def close(self) -> None:
        """Close the folder. Calling it again has no effect."""
        self._docroot.close()

    async def serve(self, listener: socket.socket) -> None:
        """Accept and serve clients of a non-blocking listening socket, until this is cancelled.

        Then all connections are closed at once. The listener stays its owner's. Raises `OSError` if it doesn't listen.
        """
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                await self._slots.acquire()
                try:
                    sock, peer = await asyncio.get_running_loop().sock_accept(listener)
                except OSError as error:
                    self._slots.release()
                    if error.errno not in _TRANSIENT:
                        raise
                    await asyncio.sleep(_RETRY_DELAY)
                    continue
                task = asyncio.create_task(self._serve_client(sock, peer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(lambda _: self._slots.release())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve_client(self, sock: socket.socket, peer: Any) -> None:
        self.totals.connections += 1
        with sock, suppress(OSError):
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self._timeout)
            host = str(peer[0]) if peer else "-"
            while await self._serve_request(connection, sock, host):
                connection.start_next_cycle()

    async def _serve_request(self, connection: Connection, sock: socket.socket, host: str) -> bool:
        """Read a request and respond to it; True if the client may send another one."""
        method, target = "-", "-"
        try:
            request = await connection.read_request()
        except h11.RemoteProtocolError as error:
            response = status_response(error.error_status_hint)
        else:
            if request is None:
                return False
            method, target = request.method.decode(), request.target.decode()
            fields = {name.decode(): value.decode("latin-1") for name, value in request.headers}
            with LogErrors("the response to %s %s", method, target, logger="mbuf.http") as attempt:
                response = respond(self._docroot, request.method, request.target, fields)
            if attempt.failed:
                response = status_response(500)
        entry = AccessLogEntry(host, method, target, response.status)
        began = time.monotonic()
        try:
            with closing(response):
                await self._send_response(connection, sock, response, entry)
        except (OSError, MbufError) as error:
            entry.error = "timed out" if isinstance(error, TimeoutError) else str(error)
            return False
        except asyncio.CancelledError:
            entry.error = "the server was stopped"
            raise
        finally:
            entry.seconds = time.monotonic() - began
            self._count(entry)
        await connection.linger()
        return connection.persistent

    def _count(self, entry: AccessLogEntry) -> None:
        totals = self.totals
        totals.requests += 1
        totals.bytes += entry.bytes
        totals.failed += entry.error != ""
        if self._on_request is not None:
            with LogErrors("on_request", logger="mbuf.http"):
                self._on_request(entry)

    async def _send_response(
        self, connection: Connection, sock: socket.socket, response: Response, entry: AccessLogEntry
    ) -> None:
        """Send header section and content, piece by piece."""
        header, length = connection.header(response)
        with self.pool.file(response.fd) if response.fd >= 0 else nullcontext() as file:
            # The file has a descriptor of its own.
            response.close()

            def content(offset: int, n: int) -> Mbuf:
                if file is None:
                    return self.pool.frombytes(response.text[offset : offset + n])
                return file.getm(response.offset + offset, n)

            offset = 0
            while header or offset < length:
                m = await self._get_piece(header, min(MAX_PIECE, length - offset), partial(content, offset))
                sent = await self._send(sock, m, entry)
                content_sent = max(sent - len(header), 0)
                header = header[sent:]
                offset += content_sent
                connection.sent(content_sent)
        connection.end()

    async def _get_piece(self, header: bytes, n: int, content: Callable[[int], Mbuf]) -> Mbuf:
        """Return a chain of the header section, if any, and `n` bytes of content, or fewer if mbufs are short.

        Waits for mbufs; raises `NoBufs` or `NoMemory` if there are none in time.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                m = self._build(header, n, content)
            except (NoBufs, NoMemory):
                if n > MIN_PIECE:
                    n = max(n // 2, MIN_PIECE)
                    continue
                if time.monotonic() > deadline:
                    raise
            else:
                self.totals.peak = max(self.totals.peak, self.pool.out)
                return m
            self.totals.waits += 1
            self._freed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), _RETRY_DELAY)

    def _build(self, header: bytes, n: int, content: Callable[[int], Mbuf]) -> Mbuf:
        if not header:
            return content(n)
        m = self.pool.frombytes(header)
        try:
            if n:
                m.cat(content(n)).fixhdr()
        except BaseException:
            m.freem()
            raise
        return m

    async def _send(self, sock: socket.socket, m: Mbuf, entry: AccessLogEntry) -> int:
        """Send a chain, or as much as the client takes, and free it; then wait until the socket is writable."""
        transfer = Transfer(m)
        slow = False
        try:
            await transfer.asend(sock, _SLOW_AFTER)
        except TimeoutError:
            slow = True
        finally:
            entry.bytes += transfer.sent
            m.freem()
            self._freed.set()
        if slow:
            async with asyncio.timeout(self._timeout):
                await wait_writable(sock)
        return transfer.sent
