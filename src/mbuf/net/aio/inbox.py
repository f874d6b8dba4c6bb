"""The part of a `StreamReader` that runs for each piece that arrives: it adds bytes, and wakes the task that waits.

It is compiled, and coroutines aren't, so they are in the class derived from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval
from mbuf.net.aio.wakeup import Wakeup
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.streambuf import StreamBuffer

#: Bytes of memory up to which a reader doesn't ask for its quota: an asking costs more than reading a line.
_SMALL = 1 << 14


@cython.cclass
class Inbox:
    """Received bytes in `buffer`, and at most one task that waits for more."""

    __slots__ = ("_before_wait", "_buffer", "_eof", "_exception", "_quota", "_waiter")

    def __init__(self, buffer: StreamBuffer) -> None:
        if buffer is None:
            raise Inval("Inbox: give the buffer for what is received")
        self._buffer = buffer
        self._eof = False
        self._exception: BaseException | None = None
        self._waiter: Wakeup | None = None
        # Called before a task waits: sends what it has written, and makes the connection read.
        self._before_wait: Callable[[], object] | None = None
        # Returns how many bytes of memory the buffer may hold.
        self._quota: Callable[[], int] | None = None

    def connect(
        self,
        pause: Callable[[], object],
        resume: Callable[[], object],
        wait: Callable[[], object],
        quota: Callable[[], int],
    ) -> None:
        """Set what pauses and resumes the source of the bytes, what is called before a task waits, and the quota."""
        self._buffer.pause, self._buffer.resume = pause, resume
        self._before_wait, self._quota = wait, quota

    def disconnect(self) -> None:
        """Forget the functions of `connect`, which refer to the connection."""
        self._buffer.pause = self._buffer.resume = self._before_wait = self._quota = None

    def feed(self, m: Mbuf) -> None:
        """Add a chain, which belongs to the reader then."""
        buffer = self._buffer
        if buffer is None:
            raise Inval("feed: this reader isn't initialized: call super().__init__() in a subclass")
        full = buffer.full
        if buffer.mbcnt > _SMALL and self._quota is not None:
            buffer.mbmax = self._quota()
        buffer.append(m)
        if full and buffer.full and buffer.pause is not None:
            # A waiting task had made the connection read.
            buffer.pause()
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.wake()

    def feed_eof(self) -> None:
        """The stream has ended: no bytes follow."""
        self._eof = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.wake_soon()

    def set_exception(self, exc: BaseException) -> None:
        """The connection has failed: reading raises this exception from now on."""
        self._exception = exc
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.set_exception(exc)

    def _must_wait(self) -> bool:
        """Return True if nothing is buffered, and something may follow."""
        return not self._buffer.cc and not self._eof and self._exception is None

    def _line(self, most: int) -> bytes | None:
        """Return the next line, or None if it isn't complete or is longer than `most`, or the stream failed."""
        if self._exception is not None:
            return None
        found: bytes | None = self._buffer.read_until(b"\n", most)
        return found

    def _more(self, method: str) -> Wakeup:
        """Return what wakes the task that awaits it when bytes or the end of the stream arrive."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            raise RuntimeError(f"{method}() called while another coroutine is already waiting for incoming data")
        if self._before_wait is not None:
            self._before_wait()
        waiter = Wakeup()
        self._waiter = waiter
        return waiter
