"""Streams as those of asyncio, with a reader and a writer, whose memory is that of a pool.

    open_connection, start_server -> StreamReader (reader.py), StreamWriter (writer.py)
                                          \\            /
                                        StreamProtocol  (an MbufProtocol)  ->  transport

What a writer is given as bytes isn't copied into the pool unless the peer is slow:

 1. The first `write` is sent at once, if nothing else waits.
 2. What is written after that, before the task waits for something to read or the loop runs its next callbacks, is
    collected (`_collected`), and sent with one system call. So a server that answers 60 lines makes one call, not 60.
 3. What the socket doesn't accept is copied into mbufs (`write_buffer`), and sent when it does.
 4. If the pool has no mbufs for that, or the connection has reached its quota, the bytes stay collected: the caller's
    objects, not copies (`starved`). Then `drain` waits until they are sent. If the program writes on all the same,
    after `hiwat` more bytes `write` raises `NoBufs`: a program that never waits for a slow peer can't make the process
    grow.

The order of the bytes is that of the calls: all in the transport, then `write_buffer`, then `_collected`. Nothing is
collected while a chain is in front of it that isn't in `write_buffer`.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from mbuf.const import MCLBYTES, MJUM16BYTES
from mbuf.errors import NoBufs, NoMemory
from mbuf.net.aio.protocol import WAKEUP_BYTES, MbufProtocol
from mbuf.net.aio.reader import LIMIT, StreamReader
from mbuf.net.aio.writer import StreamWriter
from mbuf.net.sockets import check_pool
from mbuf.packet.watermarks import SPACE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

    Connected = Callable[[StreamReader, StreamWriter], Awaitable[object] | None]

#: Bytes that are collected at most before they are sent.
_BATCH_BYTES = 1 << 16


class StreamProtocol(MbufProtocol):
    """The connection of a `StreamReader` and a `StreamWriter`. `open_connection` and `start_server` make one."""

    def __init__(self, pool: Pool, limit: int = LIMIT, connected: Connected | None = None, hiwat: int = SPACE) -> None:
        super().__init__(pool, hiwat, max_read=max(limit, MJUM16BYTES))
        #: What was received.
        self.reader = StreamReader(pool, limit)
        self._inbox = self.reader
        #: Done when the connection is lost; has the error.
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connected = connected
        #: True if this is the side that accepted the connection.
        self.accepted = connected is not None
        self._task: asyncio.Task[Any] | None = None
        # See above, 2: how many bytes are collected.
        self._collected_bytes = 0
        self._flush_due = False
        # See above, 4: bytes that were written since there was no memory.
        self._excess = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the task of an accepted connection."""
        super().connection_made(transport)
        assert self._quota is not None
        self.reader.connect(self.pause_reading, self.resume_reading, self._before_wait, self._quota.quota)
        connected, self._connected = self._connected, None
        if connected is None:
            return
        started = connected(self.reader, StreamWriter(self, self.reader))
        if asyncio.iscoroutine(started):
            self._task = asyncio.get_running_loop().create_task(started)
            self._task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        """Report the exception of the task of this connection, and close that."""
        self._task = None
        transport = self.transport
        if task.cancelled():
            self.close()
        elif (error := task.exception()) is not None:
            context = {
                "message": "Unhandled exception in client_connected_cb",
                "exception": error,
                "transport": transport,
            }
            asyncio.get_running_loop().call_exception_handler(context)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the reader, and those who wait in `wait_closed` and `drain`."""
        super().connection_lost(exc)
        error = exc or self._error
        self._collected = []
        self._collected_bytes = 0
        self._collects = self.starved = False
        self.reader.disconnect()
        if error is None:
            self.reader.feed_eof()
        else:
            self.reader.set_exception(error)
        if not self.lost.done():
            if error is None:
                self.lost.set_result(None)
            else:
                self.lost.set_exception(error)
                # Nobody has to ask for it.
                self.lost.exception()

    def mbuf_received(self, m: Mbuf) -> None:
        """Give the bytes to the reader."""
        self.reader.feed(m)

    def eof_received(self) -> bool | None:
        """Tell the reader. The connection stays open for sending, unless it does TLS."""
        self.reader.feed_eof()
        return self._fd >= 0

    # Out.

    def _write_or_collect(self, data: Any) -> None:
        """Send a bytes-like object, or collect it, in all cases but the usual one of `_write_bytes`."""
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            # The caller may change it afterwards.
            data = bytes(data)
        if self._eof_pending:
            raise RuntimeError("Cannot call write() after write_eof()")
        transport = self.transport
        if not data or transport is None or self._close_pending or transport.is_closing():
            return
        if self._collects:
            if self.starved:
                self._check_starved(len(data))
            self._collected.append(data)
            self._collected_bytes += len(data)
            if not self._flush_due:
                self._flush_due = True
                asyncio.get_running_loop().call_soon(self._flush_soon)
            if self._collected_bytes >= _BATCH_BYTES:
                self._send_collected()
            return
        self._collects = True
        self._send(data)

    def _flush_soon(self) -> None:
        """Send what was collected since the last callbacks of the loop."""
        self._flush_due = False
        self._collects = self.starved
        if self._collected:
            self._send_collected()

    def _send_collected(self) -> None:
        """Send all that is collected, or move it into mbufs."""
        pieces = self._collected
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._collected = []
        self._collected_bytes = 0
        self.starved = False
        self._send(data)
        if not self.starved:
            self._excess = 0
        self._finish()

    def _send(self, data: Any) -> None:
        """Send bytes now, and store what isn't accepted."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if not self._writing_paused and not self.write_buffer.cc:
            count = self._try_write(data) if self._uses_socket() else self._write_all(transport, data)
            if count == len(data):
                return
            data = memoryview(data)[count:]
        self._store(transport, data)

    def _try_write(self, data: Any) -> int:
        """Return how many bytes the socket accepts; with an error none: the transport meets it too."""
        try:
            return os.write(self._fd, data)
        except OSError:
            return 0

    def _write_all(self, transport: asyncio.Transport, data: Any) -> int:
        """Give bytes to the transport until it pauses writing; return how many."""
        size, at = len(data), 0
        while at < size and not self._writing_paused:
            transport.write(data if size <= MJUM16BYTES else data[at : at + MJUM16BYTES])
            at += MJUM16BYTES
        return min(at, size)

    def _store(self, transport: asyncio.Transport, data: Any) -> None:
        """Keep bytes that can't be sent now in mbufs; if there are none, or the quota is reached, as they are."""
        buffer, quota = self.write_buffer, self._quota
        if not buffer.full or quota is None or buffer.mbcnt < quota.quota():
            try:
                if len(data) >= MJUM16BYTES:
                    m = self.pool.wrap(data)
                elif len(data) <= MCLBYTES:
                    # With room for what follows.
                    m = self.pool.getcl(flags=0).append(data)
                else:
                    m = self.pool.frombytes(data, flags=0)
            except (NoBufs, NoMemory):
                pass
            else:
                self._append(m)
                return
        if not self._writing_paused and not buffer.cc:
            # It tells when the socket accepts more.
            transport.write(data[:WAKEUP_BYTES])
            data = data[WAKEUP_BYTES:]
            if not self._writing_paused:
                # It did at once.
                self._send(data)
                return
        if data:
            self._collected = [data]
            self._collected_bytes = len(data)
            self.starved = self._collects = True

    def _check_starved(self, size: int) -> None:
        """Raise an error if the program writes on and on although there is no memory for what it has written."""
        if self._excess >= self.write_buffer.hiwat:
            raise NoBufs(
                f"write: {self._collected_bytes} bytes wait because the peer reads too slowly, and there is no memory "
                "for more: await drain() after write()",
                "",
                self.write_buffer.hiwat,
                self._collected_bytes,
            )
        self._excess += size

    def write(self, m: Mbuf) -> None:
        """Send a chain behind what was written before. See `MbufProtocol.write`.

        Raises `NoBufs` also if bytes wait that there was no memory for; the chain still belongs to the caller then.
        """
        if self._collected:
            self._send_collected()
        if self._collected:
            self._check_starved(len(m))
            # Its mbufs are what is missing.
            data = bytes(m)
            m.freem()
            self._collected.append(data)
            self._collected_bytes += len(data)
            self._send_collected()
        else:
            super().write(m)

    def _flush(self) -> None:
        super()._flush()
        if self._collected and not (self._writing_paused or self._flushing or self.write_buffer.cc):
            self._send_collected()

    def write_eof(self) -> None:
        """When all is sent, end the outgoing direction."""
        if self._collected:
            self._send_collected()
        super().write_eof()

    def close(self) -> None:
        """Close the connection when all is sent."""
        if self._collected:
            self._send_collected()
        super().close()

    def _unsent(self) -> bool:
        return (bool(self._collected) and self.transport is not None) or super()._unsent()

    def _finish(self) -> None:
        if not self._collected:
            super()._finish()

    async def drain(self) -> None:
        """Wait until the connection should get more to send. Raises ConnectionResetError if it is lost."""
        while self.starved:
            await self._all_sent()
        if self.write_buffer.full:
            await self.write_buffer.drained()
        if self.transport is None:
            raise self._lost_error("Connection lost")


async def open_connection(
    pool: Pool, host: Any = None, port: Any = None, *, limit: int = LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect, and return a reader and a writer, as `asyncio.open_connection` does, with mbufs from `pool`.

    The other arguments are those of `loop.create_connection`.
    """
    check_pool("open_connection", pool)
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(lambda: StreamProtocol(pool, limit), host, port, **kwds)
    return protocol.reader, StreamWriter(protocol, protocol.reader)


async def start_server(
    pool: Pool,
    client_connected_cb: Connected,
    host: Any = None,
    port: Any = None,
    *,
    limit: int = LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Accept connections, as `asyncio.start_server` does, with mbufs from `pool`.

    `client_connected_cb(reader, writer)` is called for each; if it is a coroutine function, in a task. The other
    arguments are those of `loop.create_server`. Raises TypeError for what is no pool or can't be called.
    """
    _check_server("start_server", pool, client_connected_cb)
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: StreamProtocol(pool, limit, client_connected_cb), host, port, **kwds)


async def open_unix_connection(
    pool: Pool, path: Any = None, *, limit: int = LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """The same as `open_connection`, over a Unix socket. See `loop.create_unix_connection`."""
    check_pool("open_unix_connection", pool)
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_unix_connection(lambda: StreamProtocol(pool, limit), path, **kwds)
    return protocol.reader, StreamWriter(protocol, protocol.reader)


async def start_unix_server(
    pool: Pool, client_connected_cb: Connected, path: Any = None, *, limit: int = LIMIT, **kwds: Any
) -> asyncio.Server:
    """The same as `start_server`, over a Unix socket. See `loop.create_unix_server`."""
    _check_server("start_unix_server", pool, client_connected_cb)
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(lambda: StreamProtocol(pool, limit, client_connected_cb), path, **kwds)


def _check_server(caller: str, pool: Any, client_connected_cb: Any) -> None:
    """Raise TypeError for what is no pool, and for what can't be called: not only when a client connects."""
    check_pool(caller, pool)
    if not callable(client_connected_cb):
        raise TypeError(f"{caller}: client_connected_cb {client_connected_cb!r} can't be called: give a function")
