"""The high and low mark of a buffer: when the producer pauses, and when it resumes.

    cc, mbcnt    0 ......... lowat ......... hiwat, mbmax
                       resume <-               -> pause

`cc` counts bytes, `mbcnt` memory. The buffer is full as soon as one of them reaches its high mark, and until both are
down at the low mark; for memory that is the same part of `mbmax` as `lowat` is of `hiwat`. Between the marks nothing
changes, so a producer isn't paused and resumed for each piece. What is counted is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval
from mbuf.vm.ints import count, integer
from mbuf.vm.unraisable import run

#: The default high mark in bytes: that of a TCP socket in the kernel (net.inet.tcp.recvspace).
SPACE = 65536

#: The default `mbmax` as a multiple of `hiwat`. See kern.ipc.sockbuf_waste_factor.
WASTE = 8


@cython.cclass
class Watermarks:
    """The marks of a socket buffer, and the callbacks. See `SockBuf`."""

    __slots__ = ("_mbmax", "_waiting", "cc", "full", "hiwat", "lowat", "mbcnt", "pause", "resume")

    def __init__(
        self,
        hiwat: int,
        lowat: int | None,
        mbmax: int | None,
        pause: Callable[[], object] | None,
        resume: Callable[[], object] | None,
    ) -> None:
        if getattr(self, "hiwat", 0):
            raise TypeError("a buffer can't be initialized again: make another one")
        #: The high mark: bytes at which the buffer becomes full.
        self.hiwat: int = count(hiwat, "hiwat")
        #: The low mark: bytes at which the buffer isn't full any more.
        self.lowat: int = self.hiwat // 4 if lowat is None else integer(lowat, "lowat")
        self._mbmax: int = self.hiwat * WASTE if mbmax is None else integer(mbmax, "mbmax")
        if not 0 <= self.lowat < self.hiwat or self._mbmax < 1:
            raise Inval(f"marks {hiwat}, {lowat}, {mbmax}: give 0 <= lowat < hiwat, and 1 <= mbmax")
        #: Called without arguments when the buffer becomes full; None for nothing.
        self.pause = pause
        #: Called without arguments when the buffer isn't full any more; None for nothing.
        self.resume = resume
        #: Bytes in the buffer.
        self.cc = 0
        #: Bytes of memory that they take.
        self.mbcnt = 0
        #: True from a high mark until the low mark.
        self.full = False
        # Futures of the tasks that wait in `drained`.
        self._waiting: list[Any] = []

    @property
    def mbmax(self) -> int:
        """The high mark of memory, in bytes. A new one is in force from the next `append` or `check_full` on."""
        return self._mbmax

    @mbmax.setter
    def mbmax(self, size: int) -> None:
        most = integer(size, "mbmax")
        if most < 1:
            raise Inval(f"mbmax {size}: give 1 byte or more")
        self._mbmax = most

    @property
    def space(self) -> int:
        """Bytes that may be added until the buffer is full, by bytes or by memory; at least 0. See sbspace."""
        return max(min(self.hiwat - self.cc, self._mbmax - self.mbcnt), 0)

    async def drained(self) -> None:
        """Wait until the buffer isn't full. Call this in a task of asyncio."""
        # Imported here: a program without an event loop does not need asyncio.
        import asyncio

        while self.full:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def check_full(self) -> None:
        """Call `pause` if the buffer has become full. After `append(m, check_full=False)`, call this yourself."""
        if not self.full and (self.cc >= self.hiwat or self.mbcnt >= self._mbmax):
            self.full = True
            if self.pause is not None:
                self.pause()

    def check_drained(self) -> None:
        """Call `resume` and wake the tasks in `drained` if the buffer was full and is down at the low mark."""
        if not self.full:
            return
        # The low mark for memory, without overflow.
        share, rest = self._mbmax // self.hiwat, self._mbmax % self.hiwat
        if self.cc > self.lowat or self.mbcnt > share * self.lowat + rest * self.lowat // self.hiwat:
            return
        self.full = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                # (This raises if the loop of the task is closed.)
                run(waiter.set_result, None)
        if self.resume is not None:
            run(self.resume)
