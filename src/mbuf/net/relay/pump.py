"""One direction of a relayed connection: reads from one stream socket, writes to another.

    source socket --recv--> [ sink.write_buffer: bytes read, and not yet sent ] --sendmsg--> sink socket
                   _readable                                             _flush

A connection has two pumps, independent of each other, so one direction can end long before the other (a half-open
connection). The bytes between the sockets stay in the mbufs into which they were read; only small pieces are copied
together, as `SockBuf.append` does. They are in `write_buffer` of the port that is written to, and `Quota` limits how
much memory they take.

Whether the pump waits for its sockets
`_reading` is True while the event loop watches the source. It becomes False, so that the bytes stay in the kernel and
TCP closes its window (back-pressure), when

    the quota is reached                                     until `_flush` has sent enough (`Quota.is_low`)
    the pool has no memory, or others wait for some          until the quota calls `on_turn`
    the source has ended                                     for ever

`_writing` is True while the event loop watches the sink, because the sink didn't take all that was there. While it is
False, nothing is in `sink.write_buffer` when the loop runs: what is read is sent at once, and usually costs one call.

End of a stream
When the source has ended (recv returned no bytes) and all bytes are sent, the sink's sending side is shut down, `done`
becomes True, and `on_end(None)` is called. An error of either socket ends the pump at once: `on_end(error)`. The owner
then stops both pumps and closes the sockets.

Why no bytes are lost or reordered: bytes enter `sink.write_buffer` only at its end and leave it only at its front, when
the socket has taken them; and `shutdown` is called only when it is empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from mbuf.errors import NoBufs, NoMemory
from mbuf.net.writable import RETRY_DELAY

if TYPE_CHECKING:
    from mbuf.net.quota import Quota
    from mbuf.net.stream.streamport import StreamPort


class Pump:
    """Moves bytes from the port `source` to the port `sink` until the source ends.

    Make one in a running event loop, and call `resume` to begin and `stop` at the end. `on_end` is called once, with
    None when all bytes were sent, or with the error of a socket. The ports stay their owner's.
    """

    __slots__ = (
        "_held",
        "_loop",
        "_on_end",
        "_quota",
        "_reading",
        "_writing",
        "bytes",
        "done",
        "reads",
        "sink",
        "source",
    )

    def __init__(
        self, source: StreamPort, sink: StreamPort, quota: Quota, on_end: Callable[[OSError | None], object]
    ) -> None:
        self.source = source
        self.sink = sink
        self._quota = quota
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._reading = self._writing = False
        # Bytes of memory in `sink.write_buffer`, as last reported to the quota.
        self._held = 0
        #: Bytes that were sent, and reads that returned some.
        self.bytes = 0
        self.reads = 0
        #: True when the source has ended and all bytes were sent.
        self.done = False

    def resume(self) -> None:
        """Read, now and whenever the source is readable. Has no effect if it reads already."""
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self.source, self._readable)

    def on_turn(self) -> None:
        """Read: it is this one's turn to allocate."""
        self.resume()

    def abort(self) -> None:
        """End the connection, because it is stalled and others wait for the memory that it holds."""
        self._on_end(ConnectionAbortedError("the connection was stalled, and others waited for its memory"))

    def stop(self) -> None:
        """Stop reading and writing, and free what isn't sent."""
        self._stop_reading()
        self._stop_writing()
        self.sink.write_buffer.clear()
        held, self._held = self._held, 0
        self._quota.remove(self, held)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.source)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self.sink)

    def _readable(self) -> None:
        """Read once, as much as the quota allows, and send it."""
        quota, out = self._quota, self.sink.write_buffer
        allowance = quota.allowance(out.mbcnt)
        if not allowance:
            self._stop_reading()
            quota.end_turn(self)
            return
        if not quota.begin_turn(self):
            self._stop_reading()
            return
        try:
            m = self.source.recv(allowance)
        except (NoBufs, NoMemory):
            self._stop_reading()
            quota.allocation_denied(self)
            return
        except OSError as error:
            self._on_end(error)
            return
        quota.end_turn(self)
        if m is not None:
            self.reads += 1
            out.append(m)
        elif self.source.eof:
            self._stop_reading()
        else:
            return
        if not self._writing:
            self._flush()
        else:
            self._update_quota(sent=False)

    def _flush(self) -> None:
        """Send what the sink takes, and watch the sink if that isn't all."""
        out = self.sink.write_buffer
        before = out.cc
        try:
            self.sink.flush()
        except OSError as error:
            self._on_end(error)
            return
        sent = before - out.cc
        self.bytes += sent
        self._update_quota(sent > 0)
        if out:
            if not self._writing:
                self._writing = True
                self._watch_sink()
        else:
            self._stop_writing()
            if self.source.eof:
                self._finish()
                return
        if not self._reading and not self.source.eof and self._quota.is_low(out.mbcnt):
            self.resume()

    def _watch_sink(self) -> None:
        if self._writing:
            self._loop.add_writer(self.sink, self._writable)

    def _writable(self) -> None:
        """Send; if the sink is writable and takes nothing, because the system has no memory, try again later."""
        before = self.sink.write_buffer.cc
        self._flush()
        if self._writing and self.sink.write_buffer.cc == before:
            self._loop.remove_writer(self.sink)
            self._loop.call_later(RETRY_DELAY, self._watch_sink)

    def _update_quota(self, sent: bool) -> None:
        before, self._held = self._held, self.sink.write_buffer.mbcnt
        self._quota.update(self, before, self._held, sent)

    def _finish(self) -> None:
        """Tell the sink that the stream has ended."""
        self.done = True
        try:
            self.sink.shutdown()
        except OSError as error:
            self._on_end(error)
            return
        self._on_end(None)
