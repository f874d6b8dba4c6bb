"""A zone's full buckets, listed until a CPU needs one.

Knows how long the list may get and how large buckets should be; both follow the limit, contention and
reclaims. Its lock is the zone's: who calls holds it, where that is said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from mbuf.const import UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM
from mbuf.uma.bucket import BUCKET_MAX, Bucket, entries_for
from mbuf.uma.workset import WorkingSet
from mbuf.vm.lock import Lock

if TYPE_CHECKING:
    from mbuf.uma.cache import Cache


class Depot:
    """See uma_zone_domain in uma_int.h. The bucket put in last comes out first."""

    __slots__ = ("_full", "_work", "bucket_max", "bucket_min", "bucket_size", "clock", "lock", "most")

    def __init__(self, entries: int, clock: Callable[[], float]) -> None:
        #: Most items of a bucket: now, at least after reclaims, and at most after growth.
        self.bucket_size = entries
        self.bucket_min = entries
        self.bucket_max = BUCKET_MAX
        self.clock = clock
        self.lock = Lock()
        #: One item fewer than this may be listed.
        self.most = (1 << 64) - 1
        self._full: deque[Bucket] = deque()
        self._work = WorkingSet(clock())

    @property
    def nitems(self) -> int:
        """Items listed."""
        return self._work.nitems

    def work(self) -> WorkingSet:
        """How high and low the list went in this period, brought up to date. Takes the lock."""
        with self.lock:
            self._work.tick(self.clock())
        return self._work

    def fit(self, limit: int, cpus: int) -> None:
        """Size buckets and list so that the caches of all CPUs fit a limit. See uma_zone_set_maxcache."""
        buckets = 2 * cpus
        size = min(limit // buckets // 2, BUCKET_MAX) or int(limit >= buckets)
        self.bucket_size = self.bucket_max = size
        self.bucket_min = min(self.bucket_min, size)
        self.most = limit - buckets * size

    def bucket(self) -> Bucket:
        """A new empty bucket."""
        return Bucket(min(entries_for(self.bucket_size), self.bucket_max))

    def fetch(self) -> Bucket | None:
        """The full bucket listed last, or None. Takes the lock."""
        waits = self.lock.waits
        with self.lock:
            if self.lock.waits != waits and self.bucket_size < self.bucket_max:
                # Threads meet here: larger buckets bring them here less often.
                self.bucket_size += 1
            self._work.tick(self.clock())
            return self._pop() if self._full else None

    def _pop(self) -> Bucket:
        bucket = self._full.popleft()
        self._work.take(bucket.cnt)
        return bucket

    def put(self, bucket: Bucket) -> list[Bucket]:
        """List a bucket that isn't empty; returned instead if the list is long enough. With the lock held."""
        if not bucket.cnt:
            return []
        if self._work.nitems + bucket.cnt >= self.most:
            return [bucket]
        self._full.appendleft(bucket)
        self._work.put(bucket.cnt)
        return []

    def imported(self, count: int) -> None:
        """`count` items were made since none were listed. With the lock held."""
        self._work.imported(count)

    def take_out(self, request: int, caches: list[Cache], none: Bucket) -> list[Bucket]:
        """The buckets that a reclaim takes out of the list, and out of the CPUs' caches. Takes the lock."""
        with self.lock:
            self._work.tick(self.clock())
            buckets = self._from_cpus(caches, none) if request == UMA_RECLAIM_DRAIN_CPU else []
            keep = self.nitems - self._work.spare() if request == UMA_RECLAIM_TRIM else 0
            while self.nitems > keep:
                buckets.append(self._pop())
            if self.bucket_size > self.bucket_min:
                self.bucket_size -= 1
        return buckets

    def _from_cpus(self, caches: list[Cache], none: Bucket) -> list[Bucket]:
        self.bucket_size = (self.bucket_size + self.bucket_min) // 2
        buckets = []
        for cache in caches:
            buckets += [bucket for bucket in (cache.alloc, cache.free) if bucket.cnt]
            cache.alloc = cache.free = none
        return buckets
