"""How much may lie between two sides, and who is told.

Counts bytes and memory against a high and a low mark; pauses the side that brings, resumes it when enough has
gone. Knows nothing of what is counted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval
from mbuf.vm.ints import clip, count
from mbuf.vm.unraisable import run

#: Bytes between two sides unless told otherwise, as the kernel gives a TCP socket (net.inet.tcp.recvspace).
SPACE = 65536

#: How many times its bytes a buffer's memory may be. See kern.ipc.sockbuf_waste_factor.
WASTE = 8


@cython.cclass
class Watermarks:
    """The marks of a socket buffer: see `SockBuf`."""

    #: `cc` bytes, of `mbcnt` bytes of memory.
    __slots__ = ("_waiting", "cc", "full", "hiwat", "lowat", "mbcnt", "mbmax", "pause", "resume")

    def __init__(
        self,
        hiwat: int,
        lowat: int | None,
        mbmax: int | None,
        pause: Callable[[], object] | None,
        resume: Callable[[], object] | None,
    ) -> None:
        if getattr(self, "hiwat", 0):
            raise TypeError("a buffer is made once: make another one")
        self.hiwat: int = count(hiwat, "hiwat")
        self.lowat: int = self.hiwat // 4 if lowat is None else clip(lowat)
        self.mbmax: int = self.hiwat * WASTE if mbmax is None else clip(mbmax)
        if not 0 <= self.lowat < self.hiwat or self.mbmax < 1:
            raise Inval(f"marks {hiwat}, {lowat}, {mbmax}: give 0 <= lowat < hiwat, and 1 <= mbmax")
        self.pause = pause
        self.resume = resume
        self.cc = self.mbcnt = 0
        self.full = False
        # Futures of those who wait until this isn't full.
        self._waiting: list[Any] = []

    @property
    def space(self) -> int:
        """Bytes until it is full; the memory that is left if that is less. See sbspace."""
        return max(min(self.hiwat - self.cc, self.mbmax - self.mbcnt), 0)

    async def drained(self) -> None:
        """Wait, in a loop of asyncio, until it isn't full."""
        while self.full:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def settle(self) -> None:
        """See whether it is full by now."""
        if not self.full and (self.cc >= self.hiwat or self.mbcnt >= self.mbmax):
            self.full = True
            if self.pause is not None:
                self.pause()

    def fell(self) -> None:
        """There is less."""
        if not self.full:
            return
        # The same part of the memory as of the bytes.
        share, rest = self.mbmax // self.hiwat, self.mbmax % self.hiwat
        if self.cc > self.lowat or self.mbcnt > share * self.lowat + rest * self.lowat // self.hiwat:
            return
        self.full = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                # (Its loop may be closed.)
                run(waiter.set_result, None)
        if self.resume is not None:
            run(self.resume)
