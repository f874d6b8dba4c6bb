"""One direction of a relayed connection: bytes out of one socket, into the other.

Holds what the other side has not taken yet, as much as its share allows, and reads no more than that. Allocates
through the port that it reads from. Knows no addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from mbuf.errors import NoBufs, NoMemory

if TYPE_CHECKING:
    from mbuf.net.relay.quota import Quota
    from mbuf.net.stream.streamport import StreamPort


class Pump:
    """From `source` to `sink`, until the source ends: `start` it, and `stop` it in the end.

    `over(error)` is called when nothing more will go this way: None when all went.
    """

    __slots__ = (
        "_held",
        "_loop",
        "_over",
        "_reading",
        "_share",
        "_writing",
        "bytes",
        "done",
        "reads",
        "sink",
        "source",
    )

    def __init__(
        self, source: StreamPort, sink: StreamPort, share: Quota, over: Callable[[OSError | None], object]
    ) -> None:
        self.source = source
        self.sink = sink
        self._share = share
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._reading = self._writing = False
        self._held = 0
        #: Bytes that went, and reads that brought some.
        self.bytes = 0
        self.reads = 0
        #: True when the source has ended, and all of it went.
        self.done = False

    def start(self) -> None:
        """Read from now on."""
        self.resume()

    def resume(self) -> None:
        """Read again."""
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self.source, self._readable)

    def cut(self) -> None:
        """Let go of everything, the connection too."""
        self._over(ConnectionAbortedError("it took nothing for too long, while others had no memory"))

    def stop(self) -> None:
        """Wait for nothing any more. The ports are closed by whoever made them."""
        self._pause()
        self._idle()
        self.sink.write_buffer.clear()
        held, self._held = self._held, 0
        self._share.left(self, held)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.source)

    def _idle(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self.sink)

    def _readable(self) -> None:
        share, out = self._share, self.sink.write_buffer
        room = share.room(out.mbcnt)
        if not room:
            self._pause()
            share.served(self)
            return
        if not share.may(self):
            self._pause()
            return
        try:
            m = self.source.recv(room)
        except (NoBufs, NoMemory):
            self._pause()
            share.refused(self)
            return
        except OSError as error:
            self._over(error)
            return
        share.served(self)
        if m is not None:
            self.reads += 1
            out.append(m)
        elif self.source.eof:
            self._pause()
        else:
            return
        if not self._writing:
            self._flush()
        else:
            self._count(0)

    def _flush(self) -> None:
        """Send what is there; wait for the sink if it doesn't take all."""
        out = self.sink.write_buffer
        before = out.cc
        try:
            self.sink.flush()
        except OSError as error:
            self._over(error)
            return
        went = before - out.cc
        self.bytes += went
        self._count(went)
        if out:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self.sink, self._flush)
        else:
            self._idle()
            if self.source.eof:
                self._finish()
                return
        if not self._reading and not self.source.eof and self._share.roomy(out.mbcnt):
            self.resume()

    def _count(self, went: int) -> None:
        before, self._held = self._held, self.sink.write_buffer.mbcnt
        self._share.moved(self, before, self._held, went > 0)

    def _finish(self) -> None:
        """The source has ended, and all of it went: so does this side of the sink."""
        self.done = True
        try:
            self.sink.shutdown()
        except OSError as error:
            self._over(error)
            return
        self._over(None)
