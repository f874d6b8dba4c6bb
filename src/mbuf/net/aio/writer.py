"""The writing side of a stream, for tasks: the counterpart of `asyncio.StreamWriter`.

It has what programs call; how bytes and chains are sent is in `StreamProtocol` (streams.py).
"""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any, cast

from mbuf.packet.mbuf import Mbuf

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from mbuf.net.aio.reader import StreamReader
    from mbuf.net.aio.streams import StreamProtocol


class StreamWriter:
    """Writes a stream as `asyncio.StreamWriter` does, with the same results and exceptions, and chains as well.

    `open_connection` and `start_server` make one. What the peer doesn't accept waits in mbufs of the pool, so `await
    drain()` after `write()`: see `write`.
    """

    def __init__(self, protocol: StreamProtocol, reader: StreamReader) -> None:
        self._protocol = protocol
        self._reader = reader
        self._transport = cast(asyncio.Transport, protocol.transport)
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} transport={self._transport!r} reader={self._reader!r}>"

    def __del__(self) -> None:
        if not self.is_closing():
            if self._loop.is_closed():
                warnings.warn("loop is closed", ResourceWarning, stacklevel=1)
            else:
                self.close()
                warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1)

    @property
    def transport(self) -> asyncio.Transport:
        """The transport. Don't write to it: its bytes would overtake those that wait here."""
        return self._transport

    @property
    def protocol(self) -> StreamProtocol:
        """The connection: `mbuf.net.aio.Broadcast` sends to it."""
        return self._protocol

    def write(self, data: Any) -> None:
        """Send a bytes-like object, or a chain, which belongs to the connection then.

        Bytes are sent at the latest when the task waits. What the peer doesn't accept is copied into mbufs. If the pool
        has none, the bytes wait as they are; a further `write` raises `NoBufs` then, unless the program awaits `drain`.
        A chain isn't copied: see `MbufProtocol.write`. If the connection is closed or lost, nothing is sent. Raises
        TypeError for other objects, and RuntimeError after `write_eof`.
        """
        if type(data) is Mbuf:
            if self._protocol._eof_pending:
                raise RuntimeError("Cannot call write() after write_eof()")
            self._protocol.write(data)
        else:
            self._protocol._write_bytes(data)

    def writelines(self, data: Iterable[Any]) -> None:
        """Write each of these bytes-like objects or chains."""
        for piece in data:
            self.write(piece)

    async def drain(self) -> None:
        """Wait until the connection should get more to send, as `asyncio.StreamWriter.drain` does.

        Raises the exception of the connection, or ConnectionResetError if it is lost.
        """
        protocol = self._protocol
        if protocol._is_drained():
            return
        error = self._reader.exception()
        if error is not None:
            raise error
        if self._transport.is_closing():
            # `connection_lost` may be about to be called.
            await asyncio.sleep(0)
            await protocol.drain()
        elif protocol.starved or protocol.write_buffer.full:
            await protocol.drain()

    def write_eof(self) -> None:
        """When all is sent, end the outgoing direction: the peer reads the end of the stream. Not possible with TLS."""
        if not self.can_write_eof():
            raise NotImplementedError("this transport can't end the outgoing direction")
        self._protocol.write_eof()

    def can_write_eof(self) -> bool:
        """Return True if `write_eof` is possible."""
        return self._transport.can_write_eof()

    def close(self) -> None:
        """Close the connection when all is sent."""
        self._protocol.close()

    def is_closing(self) -> bool:
        """Return True if the connection is closed, or is about to be."""
        protocol = self._protocol
        return protocol._close_pending or protocol.transport is None or self._transport.is_closing()

    async def wait_closed(self) -> None:
        """Wait until the connection is closed. Raises its exception."""
        await asyncio.shield(self._protocol.lost)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport says about the connection, such as "peername". See `asyncio.BaseTransport`."""
        return self._transport.get_extra_info(name, default)

    async def start_tls(
        self,
        sslcontext: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        """When all is sent, begin TLS (STARTTLS); the reader and this writer are used on.

        What the reader has buffered is taken as the beginning of the peer's handshake, so that no byte of it is read as
        plain text. Raises what `loop.start_tls` raises, and ConnectionResetError if the connection is lost.
        """
        protocol, buffer = self._protocol, self._reader._buffer
        # First: this may be cancelled, and the bytes stay in the buffer then.
        await protocol._ready_for_tls(sslcontext)
        await protocol.start_tls(
            sslcontext,
            buffer.take(buffer.cc),
            server_side=protocol.accepted,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        assert protocol.transport is not None
        self._transport = protocol.transport
