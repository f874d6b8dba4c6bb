"""The part of a stream connection that runs for each piece that is read or written. It is compiled.

    get_buffer, buffer_updated    called by the transport for each read; up to 224 bytes are copied into a small mbuf
    _write_bytes                  the first bytes are sent at once, if nothing waits; see `StreamProtocol`
    _is_drained, _before_wait     called when a task has written, and before it waits

All other cases are methods of the classes derived from `Connection`. Its fields are those that are read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    import cython

    from mbuf.pool.pool import Pool
else:
    from mbuf.shadow import cython

from mbuf.const import MLEN
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.net.aio.inbox import Inbox
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.sockbuf import SockBuf
from mbuf.vm.buffer_export import export_buffer

if not cython.compiled:
    from mbuf.net.stream.send import send_now
    from mbuf.packet.segment import space


@cython.cclass
class Connection:
    """The fields of an `MbufProtocol` and a `StreamProtocol`. It is derived from, and doesn't exist alone."""

    __slots__ = (
        "_close_pending",
        "_collected",
        "_collects",
        "_eof_pending",
        "_fd",
        "_inbox",
        "_mbuf",
        "_pause_reasons",
        "_view",
        "_writing_paused",
        "pool",
        "starved",
        "transport",
        "write_buffer",
    )

    def __init__(self, pool: Pool, write_buffer: SockBuf) -> None:
        #: The pool that bytes are received into.
        self.pool = pool
        #: The bytes that wait to be sent. Its `pause` and `resume` may be set to functions.
        self.write_buffer = write_buffer
        #: The transport; None before the connection is made, and after it is lost.
        self.transport: asyncio.Transport | None = None
        #: True if bytes wait for which the pool had no mbufs.
        self.starved = False
        # What is received goes there; to `mbuf_received` if it is None.
        self._inbox: Inbox | None = None
        # The descriptor of the socket, or -1 where the transport does TLS.
        self._fd = -1
        # The empty mbuf for the next read, and the view of its room that the loop was given.
        self._mbuf: Mbuf | None = None
        self._view: memoryview | None = None
        self._pause_reasons = 0
        # The transport has bytes that the socket didn't accept.
        self._writing_paused = False
        # What is to be done when all is sent.
        self._eof_pending = False
        self._close_pending = False
        # Bytes that wait although they aren't in `write_buffer`, and whether further ones do: see `StreamProtocol`.
        self._collected: list[Any] = []
        self._collects = False

    # What a derived class has.

    def _open_view(self) -> memoryview:
        raise NotImplementedError

    def _deliver(self, m: Mbuf) -> None:
        raise NotImplementedError

    def _deliver_whole(self, nbytes: int) -> None:
        raise NotImplementedError

    def _write_or_collect(self, data: Any) -> None:
        raise NotImplementedError

    def _send_collected(self) -> None:
        raise NotImplementedError

    def resume_reading(self) -> None:
        raise NotImplementedError

    def _store(self, transport: Any, data: Any) -> None:
        raise NotImplementedError

    # In.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read; called by the transport. `sizehint` is ignored."""
        view = self._view
        return self._open_view() if view is None else view

    def buffer_updated(self, nbytes: int) -> None:
        """The transport has read `nbytes` bytes into the buffer; called by the transport. See above."""
        size: Any = nbytes
        m = self._mbuf
        if size > MLEN or m is None:
            self._deliver_whole(size)
            return
        try:
            small = self.pool.get()
        except (NoBufs, NoMemory):
            self._deliver_whole(size)
            return
        if not m.alive or not 0 <= size <= space(m):
            small.freem()
            raise Inval(f"buffer_updated: {size} bytes: the buffer has {space(m)}")
        target, room, inbox = small.buf, m.buf, self._inbox
        target.copy(small.off, room, m.off + m.count, size)
        small.count = size
        if inbox is None:
            self._deliver(small)
        else:
            inbox.feed(small)

    # Out.

    def _is_idle(self) -> bool:
        """Return True if bytes may be given to the socket now, without the transport, as none wait to be sent."""
        transport, buffer = self.transport, self.write_buffer
        if transport is None or self._fd < 0 or self._writing_paused or len(self._collected) or buffer is None:
            return False
        if buffer.cc or self._close_pending or self._eof_pending or transport.is_closing():
            return False
        protocol: Any = transport.get_protocol()
        return protocol is self

    def _is_drained(self) -> bool:
        """Return True if the connection may get more to send, without a wait or an error."""
        transport, buffer, inbox = self.transport, self.write_buffer, self._inbox
        if transport is None or buffer is None or inbox is None or inbox._exception is not None:
            return False
        return not (self.starved or buffer.full or transport.is_closing())

    def _before_wait(self) -> None:
        """A task is about to wait for something to read: send what it has written, and read."""
        if len(self._collected):
            self._send_collected()
        self._collects = self.starved
        if self._pause_reasons:
            self.resume_reading()

    def _write_bytes(self, data: Any) -> None:
        """Send a bytes-like object, or collect it. See `StreamProtocol`."""
        if type(data) is not bytes or self._collects or not len(data) or not self._is_idle():
            self._write_or_collect(data)
            return
        self._collects = True
        export = export_buffer(data)
        count = send_now(self._fd, export)
        export.release()
        if count < len(data):
            self._store(self.transport, memoryview(data)[count:])
