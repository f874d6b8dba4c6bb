"""How much memory each connection may hold, and which one allocates next when the pool is empty.

Connections that take nothing must not take the memory of those that do. A *holder* is what holds memory for one peer:
a direction of a relayed connection, or the unsent bytes of a connection of `mbuf.net.aio`. It reports how much it
holds whenever that changes; the quota counts, and never sees an mbuf.

How much a holder may hold
    quota = max(free / max(8, holders that hold memory now), one packet)

`free` is what the holders together may still take: of a limit (a relay has one), or of the pool. A stalled connection,
whose peer reads nothing, fills up to its quota and is then paused. The next one that stalls gets a part of what is
left, and so on: n stalled connections, one after the other, leave more than 2/n of the memory, and connections that
make progress always find some. No fixed share for each connection would do: it would be too small for one fast
connection, or the limit would be exceeded by many slow ones. Only when the part is less than one packet, the lower
bound of the quota applies, and the limit can be exceeded, by about one packet for each holder. Then the limits of the
pool bound the memory. A paused holder goes on when it holds much less than its quota, so that it doesn't handle one
small piece after the other.

Who allocates when the pool has no memory
Other users of the pool, and small packets in large clusters, can exhaust the pool before the quota does. A holder whose
allocation fails stops, and is added to a queue. As long as the queue isn't empty:

    allocation fails -> queue: [first] [second] [third] ... <- added: holders that are denied, or find others waiting
                           |
    memory is freed, or RETRY_DELAY is over
                           |
                           v
                  the current holder: it alone may allocate (`on_turn`)
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
from functools import partial
from typing import TYPE_CHECKING, Protocol

from mbuf.const import MCLBYTES, MJUM16BYTES, MSIZE

if TYPE_CHECKING:
    import asyncio

    from mbuf.pool.pool import Pool
    from mbuf.pool.zones import Zones
    from mbuf.vm.vm import Vm

#: A holder may hold the free memory divided by this, or by the number of holders if that is more.
DIVISOR = 8

#: Bytes of memory that each holder may hold at least: one packet.
MIN_QUOTA = MSIZE + MCLBYTES

#: Seconds until a denied allocation is tried again: other users of the pool free memory without telling the quota.
RETRY_DELAY = 0.1

#: Seconds without progress after which a connection of `mbuf.net.aio` is aborted if others wait for memory.
TIMEOUT = 15.0


class Holder(Protocol):
    """What holds memory, and allocates more only while the quota allows it."""

    def on_turn(self) -> None:
        """Allocate again, now or soon; then call `Quota.end_turn` or `allocation_denied`."""

    def abort(self) -> None:
        """Free all memory at once, and report that: `Quota.update` or `remove`."""


class Quota:
    """The quotas of all holders that share a limit.

    `limit` is how many bytes of memory they may hold together, or a function that returns how many are free. A holder
    that sent nothing for `timeout` seconds is aborted if another one waits for memory. `call_later(seconds, fn)` and
    `clock()` are those of the event loop. The connections of `mbuf.net.aio` that have the same pool and event loop
    have one in common: `Quota.of`. Use it in the thread of the event loop.
    """

    __slots__ = (
        "_call_later",
        "_clock",
        "_current",
        "_free",
        "_last_progress",
        "_limit",
        "_queue",
        "_timer_set",
        "aborts",
        "denials",
        "held",
        "timeout",
    )

    def __init__(
        self,
        limit: int | Callable[[], int],
        timeout: float,
        call_later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
    ) -> None:
        self._limit = 0 if callable(limit) else limit
        self._free = limit if callable(limit) else None
        #: Seconds without progress after which a holder may be aborted.
        self.timeout = timeout
        self._call_later = call_later
        self._clock = clock
        self._timer_set = False
        #: Bytes of memory that all holders hold.
        self.held = 0
        #: Allocations that the pool denied.
        self.denials = 0
        #: Holders that were aborted.
        self.aborts = 0
        self._queue: OrderedDict[Holder, None] = OrderedDict()
        self._current: Holder | None = None
        # Of each holder that holds memory: when it last sent some, or began to hold some. The least recent is first.
        self._last_progress: dict[Holder, float] = {}

    @classmethod
    def of(cls, pool: Pool, loop: asyncio.AbstractEventLoop) -> Quota:
        """Return the quota of the connections that use this pool in this event loop; it is made at the first call."""
        quotas = pool.quotas
        found: Quota | None = quotas.get(loop)
        if found is None:
            for other in tuple(quotas):
                if other.is_closed():
                    quotas.pop(other, None)
            found = quotas[loop] = cls(partial(_free, pool.own, pool.vm), TIMEOUT, loop.call_later, loop.time)
        return found

    @property
    def holders(self) -> int:
        """Holders that hold memory."""
        return len(self._last_progress)

    def quota(self) -> int:
        """Bytes of memory that each holder may hold now."""
        free = self._limit - self.held if self._free is None else self._free()
        return max(free // max(DIVISOR, len(self._last_progress)), MIN_QUOTA)

    def allowance(self, held: int) -> int:
        """Bytes that a holder may read now if it holds `held` bytes of memory; 0 if it has reached its quota."""
        left = self.quota() - held
        if left <= 0:
            return 0
        # A large cluster is worth its memory only if it may be filled.
        return left if left >= MJUM16BYTES else min(left, MCLBYTES)

    def is_low(self, held: int) -> bool:
        """True if a paused holder that holds `held` bytes of memory should read again."""
        return 2 * held <= self.quota()

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
            self._call_later(min(max(since + self.timeout - self._clock(), 0), RETRY_DELAY), self._retry)

    def _retry(self) -> None:
        """If a holder still waits: abort the one that stalled first, if its timeout is over, and try again."""
        self._timer_set = False
        holder, since = next(iter(self._last_progress.items()), (None, 0.0))
        if self._queue and holder is not None and self._clock() - since >= self.timeout:
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
        """Begin the turn of the first holder in the queue, unless another one is having its turn."""
        if self._current is None and self._queue:
            self._current, _ = self._queue.popitem(last=False)
            self._current.on_turn()

    def remove(self, holder: Holder, held: int) -> None:
        """Forget a holder that has ended, and freed the `held` bytes of memory that it held."""
        self.held -= held
        self._last_progress.pop(holder, None)
        self._queue.pop(holder, None)
        if self._current is holder:
            self._current = None
        self.memory_freed()


def _free(zones: Zones, vm: Vm) -> int:
    """Bytes that a pool can still hand out: the part of its memory that is left, of it and of its scarcest items."""
    used = 0
    left = 1.0
    for zone in (zones.mbuf, *zones.clusters):
        count = zone.used
        used += count * zone.size
        if zone.limit:
            left = min(left, 1 - count / zone.limit)
    return int(min(left * vm.realmem, vm.realmem - used))
