"""An asyncio protocol that receives into mbufs and sends chains, on any loop: TCP, Unix sockets, TLS.

Receiving. `MbufProtocol` is an `asyncio.BufferedProtocol`. When the socket is readable, the transport calls
`get_buffer`, reads into the buffer that it returns, and calls `buffer_updated` with the number of bytes. `get_buffer`
can't wait, and an exception in it ends the connection. So whenever the transport may read, the protocol already holds
an empty mbuf with a cluster of 2048 bytes (with TLS up to 16 KiB): `_mbuf`. It is all that an idle connection holds.

    get_buffer          view of the room of `_mbuf`
    buffer_updated      up to 224 bytes   are copied into a small mbuf; `_mbuf` stays
                        more              `_mbuf` itself is given to `mbuf_received`, and replaced
                        all 2048          more is read at once, by readv(2) into larger clusters behind it

A view keeps its memory in use. So the view of an mbuf that is given to `mbuf_received` is released before: an mbuf
that the program frees there goes back to the pool at once.

If the pool has no mbuf for the replacement, the protocol calls the transport's `pause_reading`, and a task waits for a
cluster in the pool's queue (`Pool.agetcl`), where connections and threads are served first come, first served. Its
result is the next `_mbuf`, and reading resumes. Meanwhile the bytes wait in the system, and TCP stops the peer. The
program may pause, too; the transport reads only if there is no reason to pause (`_NO_MBUF` and the others).

Handling what was received may need mbufs as well. If `mbuf_received` raises `NoBufs` or `NoMemory`, the protocol pauses
reading, and calls it again when the pool has an mbuf: `_undelivered` has the chain, or is empty if the method has taken
or freed it; then the chain of the next call has no bytes. One connection tries at a time: see `mbuf.net.quota`.

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

Errors. An error of readv(2) is raised after the bytes before it were received; the transport then ends the connection.
An error of writev(2) isn't raised: the transport meets the same error when it sends the next bytes.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from mbuf.const import MCLBYTES, MJUM16BYTES, MLEN
from mbuf.errors import Inval, MbufError, NoBufs, NoMemory
from mbuf.net.aio.starttls import handshake
from mbuf.net.linux import IOV_MAX
from mbuf.net.quota import Quota
from mbuf.net.sockets import check_pool
from mbuf.net.stream.read_sizer import ReadSizer, room_views
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

#: Reasons to pause reading: the pool had no mbuf; `pause_reading` was called; `mbuf_received` is to be called again;
#: TLS begins.
_NO_MBUF = 1
_BY_PROGRAM = 2
_UNDELIVERED = 4
_TLS = 8


class MbufProtocol(asyncio.BufferedProtocol):
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
        #: The pool that bytes are received into.
        self.pool = pool
        #: The bytes that wait to be sent. Its `pause` and `resume` may be set to functions.
        self.write_buffer = SockBuf(hiwat, lowat, mbmax)
        #: The transport; None before the connection is made, and after it is lost.
        self.transport: asyncio.Transport | None = None
        self._sizer = ReadSizer(pool)
        self._max_read = max_read
        # The empty mbuf for the next read, and the view of its room that the loop was given.
        self._mbuf: Mbuf | None = None
        self._view: memoryview | None = None
        # Waits for an mbuf.
        self._wait_task: asyncio.Task[None] | None = None
        self._pause_reasons = 0
        # The transport has bytes that the socket didn't accept.
        self._writing_paused = False
        # What is to be done when all is sent.
        self._eof_pending = False
        self._close_pending = False
        self._error: Exception | None = None
        # Bytes that wait although they aren't in `write_buffer`: only a subclass has such.
        self._collected: list[Any] = []
        #: True if bytes wait for which the pool had no mbufs.
        self.starved = False
        # The descriptor of the socket, or -1 where the transport does TLS.
        self._fd = -1
        # How the connections divide the memory; what this one holds, as last reported; the `mbmax` that was given.
        self._quota: Quota | None = None
        self._held = 0
        self._mbmax = self.write_buffer.mbmax
        # What `mbuf_received` is to be called with again.
        self._undelivered: SockBuf | None = None
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
        if not hasattr(transport, "pause_reading") or not hasattr(transport, "write"):
            raise Inval(f"MbufProtocol: give it the transport of a stream, not {transport!r}")
        self.transport = transport = cast(asyncio.Transport, transport)
        self._quota = Quota.of(self.pool, asyncio.get_running_loop())
        sock = transport.get_extra_info("socket")
        plain = sock is not None and transport.get_extra_info("sslcontext") is None
        self._fd = sock.fileno() if plain else -1
        # `pause_writing` is to be called for every byte that the transport buffers. With TLS, a high-water mark of 0
        # would pause even if it buffers nothing.
        transport.set_write_buffer_limits(high=0 if plain else 1, low=0)
        self._writing_paused = False
        if self._mbuf is None and self._wait_task is None:
            self._refill()
        # uvloop starts to read after this method, even if it was paused in it: pause again.
        asyncio.get_running_loop().call_soon(self._pause, 0)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, with the error `exc` or None.

        Frees unsent bytes, wakes tasks in `drain`, and sets `write_buffer.pause` and `write_buffer.resume` to None.
        """
        self.transport = None
        self._fd = -1
        if self._wait_task is not None:
            self._wait_task.cancel()
        self._release_view()
        if self._mbuf is not None:
            self._mbuf.freem()
            self._mbuf = None
        self._error = exc or self._error
        self.write_buffer.clear()
        if self._undelivered is not None:
            self._undelivered.clear()
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

    # In.

    def pause_reading(self) -> None:
        """Receive nothing until `resume_reading`; bytes wait in the system's buffer. Calling it again has no effect."""
        self._pause(_BY_PROGRAM)

    def resume_reading(self) -> None:
        """Receive again."""
        self._resume(_BY_PROGRAM)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read; called by the transport. `sizehint` is ignored."""
        view = self._view
        if view is None:
            if self._mbuf is None:
                raise Inval("get_buffer: reading is paused, because the pool has no mbuf")
            view = self._view = self._mbuf.room
        return view

    def buffer_updated(self, nbytes: int) -> None:
        """The transport has read `nbytes` bytes into the buffer; called by the transport. See above."""
        if nbytes <= MLEN:
            try:
                small = self.pool.get()
            except (NoBufs, NoMemory):
                self._deliver_whole(nbytes)
                return
            small.fill(self._view, 0, nbytes)
            self._deliver(small)
        else:
            self._deliver_whole(nbytes)

    def _deliver_whole(self, nbytes: int) -> None:
        """Deliver the mbuf that was read into, and what else waits in the socket if it is full; get another one."""
        m, error = self._mbuf, None
        assert m is not None
        full = nbytes == m.trailing
        m.grow(nbytes)
        self._mbuf = None
        if full and self._uses_socket():
            error = self._read_more(m)
        elif full:
            self._sizer.adapt(nbytes, nbytes)
        self._release_view()
        self._deliver(m)
        if error is not None:
            raise error
        if self._mbuf is None and self._undelivered is None and self.transport is not None:
            self._refill()

    def _deliver(self, m: Mbuf) -> None:
        try:
            self.mbuf_received(m)
        except (NoBufs, NoMemory):
            self._keep_undelivered(m)

    def _keep_undelivered(self, m: Mbuf) -> None:
        """`mbuf_received` got no memory: pause reading, and call it again later, with the chain if that is left."""
        self._undelivered = SockBuf()
        # Otherwise the program has freed it, or has put it into a buffer.
        with suppress(MbufError):
            self._undelivered.append(m)
        if self.transport is None or self._quota is None:
            self._undelivered.clear()
            return
        self._pause(_UNDELIVERED)
        if self._mbuf is not None:
            # While nothing is read, its memory may be what is missing.
            self._release_view()
            self._mbuf.freem()
            self._mbuf = None
        self._quota.allocation_denied(self)

    def on_turn(self) -> None:
        """Call `mbuf_received` again; called by the quota when the pool may have mbufs."""
        # Not at once: this may be called inside of a method of another connection.
        asyncio.get_running_loop().call_soon(self._deliver_again)

    def _deliver_again(self) -> None:
        kept = self._undelivered
        if kept is None or self.transport is None or self._quota is None:
            return
        m = kept.take(len(kept))
        try:
            if m is None:
                m = self.pool.get()
            self._undelivered = None
            self.mbuf_received(m)
        except (NoBufs, NoMemory):
            if m is None:
                self._quota.allocation_denied(self)
            else:
                self._keep_undelivered(m)
            return
        except Exception as error:
            self._quota.end_turn(self)
            self._error = error
            context = {"message": "mbuf_received failed", "exception": error, "protocol": self}
            asyncio.get_running_loop().call_exception_handler(context)
            self.abort()
            return
        self._quota.end_turn(self)
        if self._mbuf is None and self.transport is not None:
            self._refill()
        self._resume(_UNDELIVERED)

    def _release_view(self) -> None:
        """Release the view of the last read, so that its memory is free as soon as the mbuf is."""
        view, self._view = self._view, None
        if view is not None:
            # The loop may have a view of this view.
            with suppress(BufferError):
                view.release()

    def _read_more(self, first: Mbuf) -> OSError | None:
        """Read bytes that wait in the socket into a chain behind the first mbuf; return an error for later."""
        size = min(max(self._sizer.size, MJUM16BYTES), self._max_read)
        try:
            m = self._sizer.alloc(size)
        except (NoBufs, NoMemory):
            return None
        nbytes, error = 0, None
        views = room_views(m, size)
        try:
            nbytes = os.readv(self._fd, views)
        except BlockingIOError:
            pass
        except OSError as failure:
            error = failure
        finally:
            views.clear()
        if nbytes:
            first.next = self._sizer.shrink_to_fit(m, nbytes, size)
        else:
            m.freem()
        return error

    def _uses_socket(self) -> bool:
        """True if bytes may bypass the transport: it doesn't do TLS, and this is still its protocol."""
        return self._fd >= 0 and self.transport is not None and self.transport.get_protocol() is self

    def _refill(self) -> None:
        """Get an mbuf for the next read; if there is none, pause reading, and wait for one."""
        size = MCLBYTES if self._fd >= 0 else min(self._sizer.size, MJUM16BYTES)
        try:
            self._mbuf = self.pool.getjcl(size=size, flags=0)
        except (NoBufs, NoMemory):
            self._pause(_NO_MBUF)
            self._wait_task = asyncio.get_running_loop().create_task(self._wait_for_mbuf())

    async def _wait_for_mbuf(self) -> None:
        try:
            self._mbuf = await self.pool.agetcl(flags=0)
        except MbufError as error:
            # The pool was closed.
            self._error = error
            if self.transport is not None:
                self.transport.abort()
        else:
            self._resume(_NO_MBUF)
        finally:
            self._wait_task = None

    def _pause(self, reason: int) -> None:
        """Add a reason to pause reading; 0 adds none, and pauses if there is one."""
        self._pause_reasons |= reason
        if self._pause_reasons and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def _resume(self, reason: int) -> None:
        """Remove a reason to pause reading, and resume if there is no other."""
        before, self._pause_reasons = self._pause_reasons, self._pause_reasons & ~reason
        if before and not self._pause_reasons and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

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
            raise ConnectionResetError("the connection is lost") from self._error

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
        try:
            self._pause(_TLS)
            while self._unsent():
                await self._all_sent()
            plain = self.transport
            if plain is None or plain.is_closing():
                raise ConnectionResetError("the connection is lost") from self._error
            self._fd = -1
            # Until the handshake is over, what is written waits.
            self._writing_paused = True
            data = b"" if early is None else bytes(early)
        finally:
            if early is not None:
                early.freem()
        transport = await handshake(
            plain,
            data,
            sslcontext,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._pause_reasons &= ~_TLS
        if self.transport is None:
            raise ConnectionResetError("the connection is lost") from self._error
        self.connection_made(transport)
        self._flush()

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
        self._writing_paused = False
        self._flush()
        if self._held:
            self._report_held(True)

    def _flush(self) -> None:
        """Send until nothing is left, or the transport has paused writing."""
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
        self.write_buffer.drop(count)
        return count == offered or not self.write_buffer

    def _write_to_transport(self, transport: asyncio.Transport, nbytes: int) -> None:
        """Give a copy of the next bytes to the transport."""
        data = self.write_buffer.peek(nbytes)
        self.write_buffer.drop(len(data))
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
