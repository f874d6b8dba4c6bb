"""How much memory each direction of a relayed connection may hold, and which one reads next when the pool is empty.

The relay has a limit on the bytes of memory that it holds, in mbufs that were read from one socket and not yet taken
by the other. A *holder* is one direction of a connection (a `Pump`). It reports how much it holds whenever that
changes; the quota counts, and never sees an mbuf.

How much a holder may hold
    quota = max((limit - held by all) / 8, one packet)

A stalled connection, whose peer reads nothing, fills up to its quota and is then paused. The next one that stalls gets
an eighth of what is left, and so on: each takes an eighth of the free memory, so n stalled connections leave
(7/8)^n of it, and connections that make progress always find some. No fixed share per connection would do: it would be
too small for one fast connection, or the limit would be exceeded by many slow ones. Only when the eighth is less than
one packet, the lower bound of the quota applies, and the limit can be exceeded, by about one packet for each direction
of a connection. Then the limits of the pool bound the memory. A paused holder reads again when it holds at most half
of its quota, so that it doesn't read one small piece for each piece that is sent.

Who reads when the pool has no memory
Other users of the pool, and small packets in large clusters, can exhaust the pool before the quota does. A holder whose
allocation fails stops reading, and is added to a queue. As long as the queue isn't empty:

    allocation fails -> queue: [first] [second] [third] ... <- added: holders that are denied, or find others waiting
                           |
    memory is freed, or RETRY_DELAY is over
                           |
                           v
                  the current holder: resumed, it alone may allocate
                  |                |                       |
                  gets memory, or  is denied again:        is removed:
                  needs none:      first in the queue,     the next one
                  the next one     waits for more          becomes current

One holder tries at a time, in the order of arrival, so that no holder takes memory from one that waited longer, and
a thousand waiting connections don't all ask the pool for each cluster that is freed. A holder has one place in the
queue, however often it asks.

Which connection is aborted
If all memory is held by stalled connections, waiting doesn't help. `_last_progress` has the time at which each holder
last sent something, least recent first, because an entry is moved to the end when its holder sends. If a holder waits
for memory, and the least recent entry is older than the timeout, that holder is aborted: one at a time, since its
memory may be enough. A timer runs only while a holder waits, so nothing is aborted while there is memory for all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from mbuf.const import MCLBYTES, MJUM16BYTES, MSIZE

#: A holder may hold the free memory divided by this.
DIVISOR = 8

#: Bytes of memory that each holder may hold at least: one packet.
MIN_QUOTA = MSIZE + MCLBYTES

#: Seconds until a denied allocation is tried again: other users of the pool free memory without telling the quota.
RETRY_DELAY = 0.1


class Holder(Protocol):
    """What holds memory, and reads only while the quota allows it."""

    def resume(self) -> None:
        """Read again."""

    def abort(self) -> None:
        """Free all memory at once, and call `Quota.remove`."""


class Quota:
    """The quotas of all holders of a relay: `limit` bytes of memory together.

    A holder that sent nothing for `timeout` seconds is aborted if another one waits for memory. `call_later(seconds,
    fn)` and `clock()` are those of the event loop.
    """

    __slots__ = (
        "_call_later",
        "_clock",
        "_current",
        "_last_progress",
        "_limit",
        "_queue",
        "_timeout",
        "_timer_set",
        "aborts",
        "denials",
        "held",
    )

    def __init__(
        self,
        limit: int,
        timeout: float,
        call_later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
    ) -> None:
        self._limit = limit
        self._timeout = timeout
        self._call_later = call_later
        self._clock = clock
        self._timer_set = False
        #: Bytes of memory that all holders hold.
        self.held = 0
        #: Allocations that the pool denied, and holders that were aborted.
        self.denials = 0
        self.aborts = 0
        self._queue: OrderedDict[Holder, None] = OrderedDict()
        self._current: Holder | None = None
        # Of each holder that holds memory: when it last sent some, or began to hold some. The least recent is first.
        self._last_progress: dict[Holder, float] = {}

    def allowance(self, held: int) -> int:
        """Bytes that a holder may read now if it holds `held` bytes of memory; 0 if it has reached its quota."""
        left = self._quota() - held
        if left <= 0:
            return 0
        # A large cluster is worth its memory only if it may be filled.
        return left if left >= MJUM16BYTES else min(left, MCLBYTES)

    def is_low(self, held: int) -> bool:
        """True if a paused holder that holds `held` bytes of memory should read again."""
        return 2 * held <= self._quota()

    def _quota(self) -> int:
        return max((self._limit - self.held) // DIVISOR, MIN_QUOTA)

    def begin_turn(self, holder: Holder) -> bool:
        """True if the holder may allocate now; False if others wait: then it is added to the queue."""
        if not self._queue or self._current is holder:
            return True
        self._queue[holder] = None
        return False

    def end_turn(self, holder: Holder) -> None:
        """The holder got memory, or may hold no more: if it was its turn, the next one's begins."""
        if self._current is holder:
            self._current = None
            self.memory_freed()

    def allocation_denied(self, holder: Holder) -> None:
        """Add a holder to the queue because the pool denied it memory: in front if it was its turn."""
        self.denials += 1
        self._queue[holder] = None
        if self._current is holder:
            self._current = None
            self._queue.move_to_end(holder, last=False)
        if not self._timer_set:
            self._timer_set = True
            since = next(iter(self._last_progress.values()), self._clock())
            self._call_later(min(max(since + self._timeout - self._clock(), 0), RETRY_DELAY), self._retry)

    def _retry(self) -> None:
        """If a holder still waits: abort the one that stalled first, if its timeout is over, and try again."""
        self._timer_set = False
        holder, since = next(iter(self._last_progress.items()), (None, 0.0))
        if self._queue and holder is not None and self._clock() - since >= self._timeout:
            self.aborts += 1
            holder.abort()
        self.memory_freed()

    def update(self, holder: Holder, before: int, after: int, sent: bool) -> None:
        """Count that a holder holds `after` bytes of memory, no longer `before`. `sent` if it has sent some bytes."""
        self.held += after - before
        if not after:
            self._last_progress.pop(holder, None)
        elif sent or holder not in self._last_progress:
            self._last_progress.pop(holder, None)
            self._last_progress[holder] = self._clock()
        if after < before:
            self.memory_freed()

    def memory_freed(self) -> None:
        """Resume the first holder in the queue, unless another one is having its turn."""
        if self._current is None and self._queue:
            self._current, _ = self._queue.popitem(last=False)
            self._current.resume()

    def remove(self, holder: Holder, held: int) -> None:
        """Forget a holder that has ended, and freed the `held` bytes of memory that it held."""
        self.held -= held
        self._last_progress.pop(holder, None)
        self._queue.pop(holder, None)
        if self._current is holder:
            self._current = None
        self.memory_freed()
