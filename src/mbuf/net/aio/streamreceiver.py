"""The receiving of a stream connection: into mbufs, also while the pool has none.

The transport calls `get_buffer`, reads into the buffer that it returns, and calls `buffer_updated` with the number of
bytes. `get_buffer` can't wait, and an exception in it ends the connection. So whenever the transport may read, there is
an empty mbuf with a cluster of 2048 bytes (with TLS up to 16 KiB): `_mbuf`. It is all that an idle connection holds.

    get_buffer          view of the room of `_mbuf`
    buffer_updated      up to 224 bytes   are copied into a small mbuf; `_mbuf` stays (see `Connection`)
                        more              `_mbuf` itself is delivered, and replaced
                        all 2048          more is read at once, by readv(2) into larger clusters behind it

A view keeps its memory in use. So the view of an mbuf is released before that is delivered: an mbuf that the program
frees then goes back to the pool at once.

If the pool has no mbuf for the replacement, the transport's `pause_reading` is called, and a task waits for a cluster
in the pool's queue (`Pool.agetcl`), where connections and threads are served first come, first served. Its result is
the next `_mbuf`, and reading resumes. Meanwhile the bytes wait in the system, and TCP stops the peer. The program may
pause, too; the transport reads only if there is no reason to pause (`NO_MBUF` and the others).

Handling what was received may need mbufs as well. If `mbuf_received` raises `NoBufs` or `NoMemory`, reading pauses, and
it is called again when the pool has an mbuf: `_undelivered` has the chain, or is empty if the method has taken or freed
it; then the chain of the next call has no bytes. One connection tries at a time: see `mbuf.net.quota`.

An error of readv(2) is raised after the bytes before it were delivered; the transport then ends the connection.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.const import MCLBYTES, MJUM16BYTES
from mbuf.errors import Freed, Inval, MbufError, NoBufs, NoMemory
from mbuf.net.aio.connection import Connection
from mbuf.net.quota import Quota
from mbuf.net.stream.read_sizer import ReadSizer, room_views
from mbuf.net.writable import RETRY_DELAY
from mbuf.packet.sockbuf import SockBuf

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Reasons to pause reading: the pool had no mbuf; `pause_reading` was called; bytes are to be delivered again; TLS
#: begins.
NO_MBUF = 1
BY_PROGRAM = 2
UNDELIVERED = 4
TLS = 8


class StreamReceiver(Connection):
    """The receiving part of an `MbufProtocol`, in reads of about `max_read` bytes at most."""

    def __init__(self, pool: Pool, write_buffer: SockBuf, max_read: int) -> None:
        super().__init__(pool, write_buffer)
        self._max_read = max_read
        self._sizer = ReadSizer(pool)
        # Waits for an mbuf.
        self._wait_task: asyncio.Task[None] | None = None
        # What `mbuf_received` is to be called with again.
        self._undelivered: SockBuf | None = None
        # How the connections divide the memory.
        self._quota: Quota | None = None
        # Why the connection ended.
        self._error: Exception | None = None

    # What a derived class has.

    def mbuf_received(self, m: Mbuf) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    # From the connection's begin to its end.

    def _start_receiving(self) -> None:
        """Receive what the transport reads."""
        self._quota = Quota.of(self.pool, asyncio.get_running_loop())
        self._refill()
        # uvloop starts to read after `connection_made`, even if it was paused in it: pause again.
        asyncio.get_running_loop().call_soon(self._pause, 0)

    def _stop_receiving(self) -> None:
        """The connection has ended: free all mbufs."""
        if self._wait_task is not None:
            self._wait_task.cancel()
        self._release_mbuf()
        if self._undelivered is not None:
            self._undelivered.clear()

    def _uses_socket(self) -> bool:
        """True if bytes may bypass the transport: it doesn't do TLS, and this is still its protocol."""
        protocol: object = None if self._fd < 0 or self.transport is None else self.transport.get_protocol()
        return protocol is self

    # What pauses.

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

    def pause_reading(self) -> None:
        """Receive nothing until `resume_reading`; bytes wait in the system's buffer. Calling it again has no effect."""
        self._pause(BY_PROGRAM)

    def resume_reading(self) -> None:
        """Receive again."""
        self._resume(BY_PROGRAM)

    # What is called by the transport: see `Connection`.

    def _open_view(self) -> memoryview:
        """Return a new view of the room for the next read."""
        if self._mbuf is None:
            raise Inval("get_buffer: reading is paused, because the pool has no mbuf")
        view = self._view = self._mbuf.room
        return view

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
        self._release_mbuf()
        self._deliver(m)
        if error is not None:
            raise error
        if self._undelivered is None:
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
        self._pause(UNDELIVERED)
        # While nothing is read, its memory may be what is missing.
        self._release_mbuf()
        self._quota.allocation_denied(self)

    def on_turn(self) -> None:
        """Call `mbuf_received` again; called by the quota when the pool may have mbufs."""
        # Not at once: this may be called inside of a method of another connection.
        asyncio.get_running_loop().call_soon(self._deliver_again)

    def _deliver_again(self) -> None:
        kept, quota = self._undelivered, self._quota
        if kept is None or self.transport is None or quota is None:
            return
        m = kept.take(len(kept))
        try:
            if m is None:
                m = self.pool.get()
            self._undelivered = None
            self.mbuf_received(m)
        except (NoBufs, NoMemory):
            if m is None:
                quota.allocation_denied(self)
            else:
                self._keep_undelivered(m)
            return
        except Exception as error:
            quota.end_turn(self)
            context = {"message": "mbuf_received failed", "exception": error, "protocol": self}
            asyncio.get_running_loop().call_exception_handler(context)
            self._error = error
            self.abort()
            return
        quota.end_turn(self)
        self._refill()
        self._resume(UNDELIVERED)

    def _release_mbuf(self) -> None:
        """Release the view of the last read, and free the mbuf for the next one if there is one."""
        view, self._view = self._view, None
        if view is not None:
            # The loop may have a view of this view.
            with suppress(BufferError):
                view.release()
        m, self._mbuf = self._mbuf, None
        if m is not None:
            # Uncompiled, the garbage collector frees the mbuf of a connection that is collected before that is closed.
            with suppress(Freed):
                m.freem()

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

    def _refill(self) -> None:
        """Get an mbuf for the next read, unless there is one; if the pool has none, pause reading, and wait for one."""
        if self._mbuf is not None or self._wait_task is not None or self.transport is None:
            return
        size = MCLBYTES if self._fd >= 0 else min(self._sizer.size, MJUM16BYTES)
        try:
            self._mbuf = self.pool.getjcl(size=size, flags=0)
        except (NoBufs, NoMemory):
            self._pause(NO_MBUF)
            self._wait_task = asyncio.get_running_loop().create_task(self._wait_for_mbuf())
            self._wait_task.add_done_callback(self._waited)

    async def _wait_for_mbuf(self) -> None:
        try:
            self._mbuf = await self.pool.agetcl(flags=0)
        except MbufError as error:
            # The pool was closed.
            self._error = error
            self.abort()
        else:
            self._resume(NO_MBUF)
        finally:
            self._wait_task = None

    def _waited(self, task: asyncio.Task[None]) -> None:
        """The task has ended: wait again if the program has cancelled it, perhaps before it began."""
        if task.cancelled() and self.transport is not None:
            self._wait_task = None
            asyncio.get_running_loop().call_later(RETRY_DELAY, self._refill_again)

    def _refill_again(self) -> None:
        self._refill()
        if self._mbuf is not None:
            self._resume(NO_MBUF)
