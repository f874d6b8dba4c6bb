"""An asyncio protocol whose bytes come and go in mbufs, on any loop: TCP, Unix sockets, TLS.

Each connection has one mbuf in hand, so that `get_buffer` can't fail. Without one it doesn't read: it stands in
the line of those who wait for a cluster, and reads again when its turn has come. Nothing is copied but a few
bytes, which would hold a cluster, and what TLS encrypts.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from mbuf.const import MCLBYTES, MJUM16BYTES, MLEN
from mbuf.errors import Inval, MbufError, NoBufs, NoMemory
from mbuf.net.linux import IOV_MAX
from mbuf.net.stream.read_sizer import ReadSizer, room_views
from mbuf.net.stream.streamport import BATCH_BYTES, MAX_READ
from mbuf.packet.sockbuf import SockBuf
from mbuf.packet.watermarks import SPACE

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Bytes that a transport gets to wait with, when the socket takes no more: it tells us when they are gone.
_KICK = 256

#: Why a connection doesn't read.
_STARVED = 1
_ASKED = 2


class MbufProtocol(asyncio.BufferedProtocol):
    """Derive from it, and override `mbuf_received`; who overrides another method of it, calls that too.

    `write` chains, and `await drain()`, or look at `out`: what waits to be sent, at most about `hiwat` bytes if you
    do. `pause` and `resume` reading, of which one goes up to about `most` bytes. `close` when all is sent. An idle
    connection holds one cluster of 2048 bytes.
    """

    def __init__(
        self, pool: Pool, hiwat: int = SPACE, lowat: int | None = None, mbmax: int | None = None, most: int = MAX_READ
    ) -> None:
        if most < 1:
            raise Inval(f"most {most}: give the bytes of a read, 1 or more")
        self.pool = pool
        #: What waits to be sent. Its `pause` and `resume` may be set, to be told of its marks.
        self.out = SockBuf(hiwat, lowat, mbmax)
        #: The connection, None before it is made and after it is lost.
        self.transport: asyncio.Transport | None = None
        self._sizer = ReadSizer(pool)
        self._most = most
        self._hand: Mbuf | None = None
        self._view: memoryview | None = None
        self._turn: asyncio.Task[None] | None = None
        self._unread = 0
        self._stuck = False
        self._ending = False
        self._closing = False
        self._error: Exception | None = None
        # The socket, where nothing stands between it and us.
        self._fd = -1

    # For who derives.

    def mbuf_received(self, m: Mbuf) -> None:
        """Some bytes have come: a chain, which is yours."""
        m.freem()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a connection; or it has another transport from now on, as after `loop.start_tls`."""
        # A loop's transports need not be derived from asyncio's.
        if not hasattr(transport, "pause_reading") or not hasattr(transport, "write"):
            raise Inval(f"MbufProtocol: {transport!r} is no transport of a stream")
        self.transport = transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        plain = sock is not None and transport.get_extra_info("sslcontext") is None
        self._fd = sock.fileno() if plain else -1
        # To be told as soon as the transport has nothing more to send. TLS takes 0 for too much as well.
        transport.set_write_buffer_limits(high=0 if plain else 1, low=0)
        self._stuck = False
        if self._hand is None and self._turn is None:
            self._refill()
        # uvloop begins to read after this, paused or not.
        asyncio.get_running_loop().call_soon(self._hold, 0)

    def connection_lost(self, exc: Exception | None) -> None:
        """There is no connection any more. What wasn't sent is freed, and whoever waits in `drain` told."""
        self.transport = None
        self._fd = -1
        if self._turn is not None:
            self._turn.cancel()
        self._drop_view()
        if self._hand is not None:
            self._hand.freem()
            self._hand = None
        self._error = exc or self._error
        self.out.clear()

    def eof_received(self) -> bool | None:
        """The other side will send no more. By default, close the connection when all is sent."""
        if self.out and self._fd >= 0:
            self.close()
            return True
        return None

    # In.

    def pause(self) -> None:
        """Read no more, until `resume`; what comes meanwhile waits in the system."""
        self._hold(_ASKED)

    def resume(self) -> None:
        """Read again."""
        self._release(_ASKED)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop is to read to."""
        if self._hand is None:
            raise Inval("get_buffer: reading is paused, for want of an mbuf")
        self._view = self._hand.room
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were read to there."""
        hand = self._hand
        assert hand is not None
        m, error = hand, None
        if nbytes > MLEN or (small := self._small()) is None:
            full = nbytes == hand.trailing
            hand.grow(nbytes)
            self._hand = None
            if full and self._direct():
                error = self._read_on(hand)
            elif full:
                self._sizer.adapt(nbytes, nbytes)
        else:
            m = small
            m.fill(hand.room, 0, nbytes)
        self._drop_view()
        self.mbuf_received(m)
        if error is not None:
            raise error
        if self._hand is None and self.transport is not None:
            self._refill()

    def _small(self) -> Mbuf | None:
        """An mbuf for a few bytes, if there is one."""
        try:
            return self.pool.get()
        except (NoBufs, NoMemory):
            return None

    def _drop_view(self) -> None:
        """Look at the buffer no more: freed now, its memory shall be free at once."""
        view, self._view = self._view, None
        if view is not None:
            # The loop may still have it.
            with suppress(BufferError):
                view.release()

    def _read_on(self, first: Mbuf) -> OSError | None:
        """There is more: read it right away, into several clusters, behind the first; an error is for later."""
        size = min(max(self._sizer.size, MJUM16BYTES), self._most)
        try:
            m = self._sizer.alloc(size)
        except (NoBufs, NoMemory):
            return None
        got, error = 0, None
        rooms = room_views(m, size)
        try:
            got = os.readv(self._fd, rooms)
        except BlockingIOError:
            pass
        except OSError as failure:
            error = failure
        finally:
            rooms.clear()
        if got:
            first.next = self._sizer.shrink_to_fit(m, got, size)
        else:
            m.freem()
        return error

    def _direct(self) -> bool:
        """True where nothing stands between the socket and us, like TLS."""
        return self._fd >= 0 and self.transport is not None and self.transport.get_protocol() is self

    def _refill(self) -> None:
        """Have an mbuf in hand again, or wait for one."""
        size = MCLBYTES if self._fd >= 0 else min(self._sizer.size, MJUM16BYTES)
        try:
            self._hand = self.pool.getjcl(size=size, flags=0)
        except (NoBufs, NoMemory):
            self._hold(_STARVED)
            self._turn = asyncio.get_running_loop().create_task(self._await_turn())

    async def _await_turn(self) -> None:
        try:
            self._hand = await self.pool.agetcl(flags=0)
        except MbufError as error:
            # There never will be one: the pool was closed.
            self._error = error
            if self.transport is not None:
                self.transport.abort()
        else:
            self._release(_STARVED)
        finally:
            self._turn = None

    def _hold(self, why: int) -> None:
        self._unread |= why
        if self._unread and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def _release(self, why: int) -> None:
        before, self._unread = self._unread, self._unread & ~why
        if before and not self._unread and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    # Out.

    def write(self, m: Mbuf) -> None:
        """Send a chain, which is the connection's from then on: at once what goes, the rest as soon as it does.

        A connection that is closed or lost sends nothing: the chain is freed.
        """
        if self.transport is None or self._closing or self._ending or self.transport.is_closing():
            m.freem()
            return
        self.out.append(m, check_full=False)
        if not self._stuck:
            self._flush()
        self.out.check_full()

    async def drain(self) -> None:
        """Wait until less than `out.lowat` bytes wait to be sent, if they are too many now.

        Raises `ConnectionResetError` if the connection is lost.
        """
        await self.out.drained()
        if self.transport is None:
            raise ConnectionResetError("the connection is lost") from self._error

    def write_eof(self) -> None:
        """Tell the other side, when all is sent, that nothing more will come."""
        self._ending = True
        self._end()

    def close(self) -> None:
        """Close the connection when all is sent."""
        self._closing = True
        self._end()

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The transport has bytes that the socket didn't take."""
        self._stuck = True

    def resume_writing(self) -> None:
        """The socket takes more."""
        # Not at once: a transport of asyncio that is closed inside this call loses its connection twice.
        asyncio.get_running_loop().call_soon(self._unstick)

    def _unstick(self) -> None:
        self._stuck = False
        self._flush()

    def _flush(self) -> None:
        while self.out and not self._stuck and self.transport is not None and not self.transport.is_closing():
            if not self._direct():
                self._hand_over(self.transport, MJUM16BYTES)
            elif self.transport.get_write_buffer_size() or not self._write_batch():
                self._hand_over(self.transport, _KICK)
        self._end()

    def _write_batch(self) -> bool:
        """Send what the socket takes in one call; false if it would have taken no more."""
        views = self.out.views(IOV_MAX, BATCH_BYTES)
        offered = sum(map(len, views))
        try:
            count = os.writev(self._fd, views)
        except OSError:
            # If it isn't that the socket is full, the transport will meet it too, and end the connection.
            return False
        finally:
            views.clear()
        self.out.drop(count)
        return count == offered or not self.out

    def _hand_over(self, transport: asyncio.Transport, most: int) -> None:
        """Give a copy of some bytes to the transport."""
        piece = self.out.peek(most)
        self.out.drop(len(piece))
        transport.write(piece)

    def _end(self) -> None:
        if self.out or self.transport is None or self.transport.is_closing():
            return
        if self._closing:
            self.transport.close()
        elif self._ending and self.transport.can_write_eof():
            self.transport.write_eof()
