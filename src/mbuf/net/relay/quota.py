"""Who may hold how much: one memory, shared by flows of which some stand still.

Each may hold an eighth of what is free, so that what is free gets less with every flow that stands still and never
runs out; and a cluster at least. Those that the pool refuses take turns. Counts; never sees an mbuf.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from mbuf.const import MCLBYTES, MJUM16BYTES, MSIZE

#: The part of what is free that one flow may hold.
PART = 8

#: What any flow may hold: one packet.
LEAST = MSIZE + MCLBYTES

#: Seconds after which it is tried again: memory may come back from others than these, who tell nobody here.
AGAIN = 0.1


class Holder(Protocol):
    """Somebody who holds memory, and reads when there is more of it."""

    def resume(self) -> None:
        """Read again."""

    def cut(self) -> None:
        """Let go of all, at once."""


class Quota:
    """`bound` bytes for all. A holder that has stood still for `patience` seconds is cut where others get none.

    `later(seconds, fn)` has `fn` called then, by the `clock`: a loop's `call_later` and `time`.
    """

    __slots__ = (
        "_bound",
        "_checking",
        "_clock",
        "_idle",
        "_later",
        "_patience",
        "_turn",
        "_waiting",
        "cuts",
        "denied",
        "held",
    )

    def __init__(
        self,
        bound: int,
        patience: float,
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
    ) -> None:
        self._bound = bound
        self._patience = patience
        self._later = later
        self._clock = clock
        self._checking = False
        #: Bytes held by all.
        self.held = 0
        #: How often the pool refused, and how many were cut.
        self.denied = 0
        self.cuts = 0
        # Who waits, in order, each once; and who of them has been told to read again.
        self._waiting: OrderedDict[Holder, None] = OrderedDict()
        self._turn: Holder | None = None
        # Who holds something, and when they last let go of some of it: who stands still longest is first.
        self._idle: dict[Holder, float] = {}

    def room(self, held: int) -> int:
        """Bytes that a holder of so many may read now; 0 for none."""
        most = max((self._bound - self.held) // PART, LEAST)
        if held >= most:
            return 0
        # Larger clusters are worth it only if they may be filled.
        return most - held if most - held >= MJUM16BYTES else min(most - held, MCLBYTES)

    def roomy(self, held: int) -> bool:
        """True when it is worth while to read again."""
        return 2 * held <= max((self._bound - self.held) // PART, LEAST)

    def may(self, who: Holder) -> bool:
        """True when it is nobody else's turn; if it is, one waits for one's own."""
        if not self._waiting or self._turn is who:
            return True
        self._waiting[who] = None
        return False

    def served(self, who: Holder) -> None:
        """One has had one's turn: was given memory, or may hold no more."""
        if self._turn is who:
            self._turn = None
            self.freed()

    def refused(self, who: Holder) -> None:
        """The pool had nothing: wait, before all others if it was one's turn."""
        self.denied += 1
        self._waiting[who] = None
        if self._turn is who:
            self._turn = None
            self._waiting.move_to_end(who, last=False)
        if not self._checking:
            self._checking = True
            since = next(iter(self._idle.values()), self._clock())
            self._later(min(max(since + self._patience - self._clock(), 0), AGAIN), self._check)

    def _check(self) -> None:
        """If somebody still waits: cut the one that stands still for too long, and try again."""
        self._checking = False
        who, since = next(iter(self._idle.items()), (None, 0.0))
        # One only: what it held may be enough.
        if self._waiting and who is not None and self._clock() - since >= self._patience:
            self.cuts += 1
            who.cut()
        self.freed()

    def moved(self, who: Holder, before: int, after: int, progress: bool) -> None:
        """A holder has so many bytes now, instead of those before; with progress, some of them went."""
        self.held += after - before
        if not after:
            self._idle.pop(who, None)
        elif progress or who not in self._idle:
            self._idle.pop(who, None)
            self._idle[who] = self._clock()
        if after < before:
            self.freed()

    def freed(self) -> None:
        """There may be memory: whose turn it is reads again."""
        if self._turn is None and self._waiting:
            self._turn, _ = self._waiting.popitem(last=False)
            self._turn.resume()

    def left(self, who: Holder, held: int) -> None:
        """Somebody is no more."""
        self.held -= held
        self._idle.pop(who, None)
        self._waiting.pop(who, None)
        if self._turn is who:
            self._turn = None
        self.freed()
