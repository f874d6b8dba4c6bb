"""An asyncio protocol that receives into mbufs and sends chains, on any loop: TCP, Unix sockets, TLS.

Receiving. `MbufProtocol` is an `asyncio.BufferedProtocol`. Its part `StreamReceiver` (streamreceiver.py) gives the
transport an mbuf to read into, waits where the pool has none, and calls `mbuf_received`.

Sending. `write` appends a chain to `write_buffer`, and writev(2) sends views of its mbufs, on the transport's socket
but without the transport, which would copy the bytes. Two rules keep the bytes in order and the loop informed:

 * The protocol writes to the socket only while the transport's own write buffer is empty.
 * The loop accepts no writer for a file descriptor that a transport uses. So when the socket accepts no more, the
   transport is given the next 256 bytes (`WAKEUP_BYTES`). The socket doesn't accept them either, so the transport
   buffers them, and as its high-water mark is 0, calls `pause_writing`. When the socket has accepted them, it calls
   `resume_writing`, and the protocol continues. If the socket does accept them at once, `pause_writing` isn't called,
   and the protocol continues at once.

Only these few bytes are copied, each time that the socket is full. `close` and `write_eof` wait until `write_buffer`
is empty.

Bytes that the peer doesn't accept hold memory. Their connection is a holder of the pool's quota (`Quota.of`), and the
memory that it may hold is the `mbmax` of `write_buffer`, set again with each write: so `write_buffer` becomes full
early, and `drain` waits, if the memory is needed by others.

TLS. The transport encrypts, so all bytes pass through it, copied in pieces of 16 KiB; `_uses_socket` is false then. A
connection may become TLS (`start_tls`, starttls.py).

Errors. An error of writev(2) isn't raised: the transport meets the same error when it sends the next bytes.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, cast

from mbuf.const import MJUM16BYTES
from mbuf.errors import Inval
from mbuf.net.aio.starttls import handshake, lose_soon
from mbuf.net.aio.streamreceiver import TLS, StreamReceiver
from mbuf.net.linux import IOV_MAX
from mbuf.net.sockets import check_pool
from mbuf.net.stream.streamport import BATCH_BYTES, MAX_READ
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.sockbuf import SockBuf
from mbuf.packet.watermarks import SPACE
from mbuf.vm.ints import kind_of

if TYPE_CHECKING:
    import ssl

    from mbuf.pool.pool import Pool

#: Bytes given to the transport when the socket is full: it calls `resume_writing` when they are sent.
WAKEUP_BYTES = 256


class MbufProtocol(StreamReceiver, asyncio.BufferedProtocol):
    """A stream connection whose bytes are in mbufs. Derive from it, and override `mbuf_received`.

    A method that overrides another one calls that too: `super().connection_made(transport)`. `hiwat`, `lowat` and
    `mbmax` are the marks of `write_buffer`, in bytes (see `SockBuf`): it becomes full at `hiwat` bytes (default 65536)
    or `mbmax` bytes of memory, and stays full down to `lowat`. If other connections need memory, it becomes full
    earlier (`mbuf.net.quota`). `write` accepts chains also then, so `await drain()`, or let `write_buffer.pause` and
    `write_buffer.resume` stop and start the producer. `max_read` is about the most bytes of one `mbuf_received`. An
    idle connection holds one mbuf with a cluster of 2048 bytes. If the pool has no mbufs, reading pauses until it has.
    Raises `Inval` for wrong marks or `max_read`.
    """

    def __init__(
        self,
        pool: Pool,
        hiwat: int = SPACE,
        lowat: int | None = None,
        mbmax: int | None = None,
        max_read: int = MAX_READ,
    ) -> None:
        check_pool("MbufProtocol", pool)
        if max_read < 1:
            raise Inval(f"MbufProtocol: max_read {max_read}: give 1 byte or more")
        super().__init__(pool, SockBuf(hiwat, lowat, mbmax), max_read)
        self._flushing = False
        # The memory that the unsent bytes hold, as last reported to the quota; the `mbmax` that was given.
        self._held = 0
        self._mbmax = self.write_buffer.mbmax
        # Futures of the tasks that wait in `_all_sent`.
        self._sent_waiters: list[asyncio.Future[None]] = []

    # To be overridden.

    def mbuf_received(self, m: Mbuf) -> None:
        """Bytes were received: a chain without a packet header, which belongs to this method. The default frees it.

        If it raises `NoBufs` or `NoMemory`, nothing more is received until the pool has mbufs; then it is called again:
        with the same bytes if the chain still belongs to nobody else, or with an empty chain if it was freed, or
        appended to a buffer or another chain. Any other exception ends the connection.
        """
        m.freem()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is made, or has another transport. Call this yourself with the result of `loop.start_tls`.

        Raises `Inval` if the transport isn't one of a stream.
        """
        # A loop's transports needn't be derived from those of asyncio.
        # Those of datagrams have `write`, too, in asyncio.
        if not hasattr(transport, "pause_reading") or not hasattr(transport, "write") or hasattr(transport, "sendto"):
            raise Inval(f"MbufProtocol: give it the transport of a stream, not {transport!r}")
        self.transport = transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        plain = sock is not None and transport.get_extra_info("sslcontext") is None
        self._fd = sock.fileno() if plain else -1
        # `pause_writing` is to be called for every byte that the transport buffers. With TLS, a high-water mark of 0
        # would pause even if it buffers nothing.
        transport.set_write_buffer_limits(high=0 if plain else 1, low=0)
        self._writing_paused = False
        self._start_receiving()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, with the error `exc` or None.

        Frees unsent bytes, wakes tasks in `drain`, and sets `write_buffer.pause` and `write_buffer.resume` to None.
        """
        self.transport = None
        self._fd = -1
        self._stop_receiving()
        self._error = exc or self._error
        self.write_buffer.clear()
        if self._quota is not None:
            held, self._held = self._held, 0
            self._quota.remove(self, held)
        self._wake_sent()
        # They are often methods of this protocol: a reference cycle would keep it until the next garbage collection.
        self.write_buffer.pause = self.write_buffer.resume = None

    def eof_received(self) -> bool | None:
        """The peer will send no more bytes. The default closes the connection when all is sent.

        Return True to keep the connection open for sending, which isn't possible with TLS.
        """
        if self.write_buffer and self._fd >= 0:
            self.close()
            return True
        return None

    # Out.

    def write(self, m: Mbuf) -> None:
        """Send a chain, which belongs to the connection then. What the socket doesn't accept at once is sent later.

        For bytes, give `pool.frombytes(data)`. If the connection is closed or lost, or `write_eof` was called, the
        chain is freed, and nothing is sent. Raises `Inval` if the chain is linked or in a queue, `Freed`, and TypeError
        for what is no chain; it still belongs to the caller then. All bytes are copied with TLS; else only up to 512 if
        they fit into the last mbuf, and up to 256 when the socket is full.
        """
        if not isinstance(m, Mbuf):
            raise TypeError(f"write: give a chain, such as pool.frombytes(data), not {kind_of(m)}")
        if self.transport is None or self._close_pending or self._eof_pending or self.transport.is_closing():
            m.freem()
            return
        self._append(m)

    def _append(self, m: Mbuf) -> None:
        """Append a chain to what is unsent, and send what the socket accepts."""
        self.write_buffer.append(m, check_full=False)
        if not self._writing_paused:
            self._flush()
        if self._held or self.write_buffer.cc:
            self._report_held(False)
        self.write_buffer.check_full()

    def _report_held(self, sent: bool) -> None:
        """Tell the quota how much memory the unsent bytes hold, and limit it accordingly."""
        quota, buffer = self._quota, self.write_buffer
        if quota is not None:
            before, self._held = self._held, buffer.mbcnt
            quota.update(self, before, self._held, sent or self._held < before)
            buffer.mbmax = min(self._mbmax, quota.quota())

    async def drain(self) -> None:
        """Wait until `write_buffer` isn't full. Raises ConnectionResetError if the connection is lost.

        Unlike a StreamWriter's, this waits until no more than `write_buffer.lowat` bytes are left, if it waits at all.
        """
        await self.write_buffer.drained()
        if self.transport is None:
            raise self._lost_error("the connection is lost")

    def _lost_error(self, text: str) -> ConnectionResetError:
        """Return the error for a connection that is lost, with the reason as its cause."""
        error = ConnectionResetError(text)
        if self._error is not None:
            # A cause of None would hide the exception that the program handles at the moment.
            error.__cause__ = self._error
        return error

    def write_eof(self) -> None:
        """When all is sent, end the outgoing direction: the peer reads the end of the stream. Not possible with TLS."""
        self._eof_pending = True
        self._finish()

    async def start_tls(
        self,
        sslcontext: ssl.SSLContext,
        early: Mbuf | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        """When all is sent, begin TLS on this connection, and return after the handshake (STARTTLS).

        `early` are bytes that were received behind the last plain one, and so are the beginning of the peer's
        handshake: a chain, which belongs to this method, or None. They are copied. The other arguments are those of
        `loop.start_tls`, and it raises the same exceptions, and ConnectionResetError if the connection is lost.
        """
        data = b""
        if early is not None:
            data = bytes(early)
            early.freem()
        plain = await self._ready_for_tls(sslcontext)
        fd, self._fd = self._fd, -1
        # Until the handshake is over, what is written waits.
        self._writing_paused = True
        try:
            transport = await handshake(
                plain,
                data,
                sslcontext,
                server_side=server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
        except BaseException as error:
            if plain.get_protocol() is self and not plain.is_closing():
                # A wrong argument: TLS hasn't begun.
                self._fd = fd
                self._resume(TLS)
                self._resume_flush()
            else:
                plain.abort()
                lose_soon(self, error if isinstance(error, Exception) else None)
            raise
        self._pause_reasons &= ~TLS
        if self.transport is None:
            raise self._lost_error("the connection is lost")
        self.connection_made(transport)
        self._flush()

    async def _ready_for_tls(self, sslcontext: ssl.SSLContext) -> asyncio.Transport:
        """Stop reading, and wait until all is sent; return the transport. If this raises, nothing has changed."""
        # Imported here: not every program has TLS.
        import ssl

        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(f"start_tls: sslcontext {sslcontext!r}: give an ssl.SSLContext")
        self._pause(TLS)
        try:
            while self._unsent():
                await self._all_sent()
            plain = self.transport
            if plain is None or plain.is_closing():
                raise self._lost_error("the connection is lost")
        except BaseException:
            self._resume(TLS)
            raise
        return plain

    def _unsent(self) -> bool:
        """True if bytes wait to be sent, here or in the transport."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        return bool(self.write_buffer) or transport.get_write_buffer_size() > 0

    async def _all_sent(self) -> None:
        """Wait until what waits here is sent, or the connection is lost."""
        waiter = asyncio.get_running_loop().create_future()
        self._sent_waiters.append(waiter)
        await waiter

    def _wake_sent(self) -> None:
        """Wake the tasks in `_all_sent`."""
        if self._sent_waiters:
            waiters, self._sent_waiters = self._sent_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def close(self) -> None:
        """Close the connection when all is sent."""
        self._close_pending = True
        self._finish()

    def abort(self) -> None:
        """Close the connection at once; unsent bytes are freed."""
        if self.transport is not None:
            self.transport.abort()
            self.write_buffer.clear()
            self._report_held(False)

    def pause_writing(self) -> None:
        """The transport has bytes that the socket didn't accept; called by the transport."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """The socket has accepted the transport's bytes; called by the transport."""
        # Not at once: if a transport of asyncio is closed inside of this call, it calls `connection_lost` twice.
        asyncio.get_running_loop().call_soon(self._resume_flush)

    def _resume_flush(self) -> None:
        if self._fd < 0 and self._pause_reasons & TLS:
            # The handshake has begun.
            return
        self._writing_paused = False
        self._flush()
        if self._held:
            self._report_held(True)

    def _flush(self) -> None:
        """Send until nothing is left, or the transport has paused writing."""
        if self._flushing:
            # A finalizer writes while bytes are being sent: its bytes are sent after them.
            return
        self._flushing = True
        try:
            while (
                self.write_buffer
                and not self._writing_paused
                and self.transport is not None
                and not self.transport.is_closing()
            ):
                if not self._uses_socket():
                    self._write_to_transport(self.transport, MJUM16BYTES)
                elif self.transport.get_write_buffer_size() or not self._writev():
                    self._write_to_transport(self.transport, WAKEUP_BYTES)
        finally:
            self._flushing = False
        self._finish()

    def _writev(self) -> bool:
        """Make one system call; False if the socket hasn't accepted all that was offered."""
        views = self.write_buffer.views(IOV_MAX, BATCH_BYTES)
        offered = sum(map(len, views))
        try:
            count = os.writev(self._fd, views)
        except OSError:
            # The socket is full; or it has an error, which the transport meets too, and ends the connection.
            return False
        finally:
            views.clear()
        # A finalizer may have aborted the connection.
        self.write_buffer.drop(min(count, len(self.write_buffer)))
        return count == offered or not self.write_buffer

    def _write_to_transport(self, transport: asyncio.Transport, nbytes: int) -> None:
        """Give a copy of the next bytes to the transport."""
        data = self.write_buffer.peek(nbytes)
        self.write_buffer.drop(min(len(data), len(self.write_buffer)))
        transport.write(data)

    def _finish(self) -> None:
        """Do what `close` or `write_eof` asked for, if all is sent."""
        if self.write_buffer or self.transport is None or self.transport.is_closing():
            return
        self._wake_sent()
        if self._close_pending:
            self.transport.close()
        elif self._eof_pending and self.transport.can_write_eof():
            self.transport.write_eof()
