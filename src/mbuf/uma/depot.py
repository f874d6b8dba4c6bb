# cython: cdivision=True
"""A zone's full buckets, listed until a CPU needs one.

Knows how long the list may get and how large buckets should be; both follow the limit and reclaims. The list is linked
through the buckets. Most of what is here is part of a commit of the zone; the clock is read before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import UMA_RECLAIM_TRIM
from mbuf.errors import Inval
from mbuf.uma.bucket import BUCKET_MAX, Bucket, entries_for
from mbuf.uma.workset import WorkingSet

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit


@cython.cclass
class Depot:
    """See uma_zone_domain in uma_int.h. The bucket put in last comes out first."""

    __slots__ = ("_first", "_work", "bucket_max", "bucket_min", "bucket_size", "clock", "most")

    def __init__(self, entries: int, clock: Callable[[], float]) -> None:
        if not 0 <= entries <= BUCKET_MAX:
            raise Inval(f"buckets of {entries} items: give 0 to {BUCKET_MAX}")
        #: Most items of a bucket: now, at least after reclaims, and at most after growth.
        self.bucket_size = entries
        self.bucket_min = entries
        self.bucket_max = BUCKET_MAX
        self.clock = clock
        #: One item fewer than this may be listed.
        self.most = (1 << 64) - 1
        self._first: Any = None
        self._work = WorkingSet(clock())

    def __dealloc__(self) -> None:
        # One after the other, however long the list is.
        if cython.compiled:
            bucket = self._first
            self._first = None
            while bucket is not None:
                bucket = bucket.behind

    @property
    def nitems(self) -> int:
        """Items listed."""
        return self._work.nitems

    def work(self) -> WorkingSet:
        """How high and low the list went in this period, brought up to date."""
        now: float = self.clock()
        enter_commit()
        try:
            self._work.tick(now)
        finally:
            leave_commit()
        return self._work

    def fit(self, limit: int, cpus: int) -> None:
        """Size buckets and list so that the caches of all CPUs fit a limit. See uma_zone_set_maxcache."""
        buckets = 2 * cpus
        size = min(limit // buckets // 2, BUCKET_MAX) or int(limit >= buckets)
        enter_commit()
        try:
            self.bucket_size = self.bucket_max = size
            self.bucket_min = min(self.bucket_min, size)
            self.most = limit - buckets * size
        finally:
            leave_commit()

    def bucket(self) -> Bucket:
        """A new empty bucket."""
        return Bucket(min(entries_for(self.bucket_size), self.bucket_max))

    def fetch(self, now: float) -> Bucket | None:
        """In a commit: the full bucket listed last, or None."""
        self._work.tick(now)
        return self._pop()

    def _pop(self) -> Bucket | None:
        bucket: Bucket | None = self._first
        if bucket is not None:
            self._first = bucket.behind
            bucket.behind = None
            self._work.take(bucket.cnt)
        return bucket

    def put(self, bucket: Bucket) -> bool:
        """In a commit: list a bucket; false if it stays the caller's, for the list is long enough."""
        if bucket.cnt == 0:
            return True
        if self._work.nitems + bucket.cnt >= self.most:
            return False
        self.put_back(bucket)
        return True

    def put_back(self, bucket: Bucket) -> None:
        """In a commit: list a bucket, however long the list is."""
        bucket.behind = self._first
        self._first = bucket
        self._work.put(bucket.cnt)

    def imported(self, count: int) -> None:
        """In a commit: `count` items were made since none were listed."""
        self._work.imported(count)

    def halve(self) -> None:
        """In a commit: the caches of CPUs are emptied."""
        self.bucket_size = (self.bucket_size + self.bucket_min) // 2

    def tick(self, request: int, now: float) -> int:
        """In a commit: how many listed items a reclaim leaves."""
        self._work.tick(now)
        return self._work.nitems - self._work.spare() if request == UMA_RECLAIM_TRIM else 0

    def shrink(self) -> None:
        """In a commit: a reclaim is over."""
        if self.bucket_size > self.bucket_min:
            self.bucket_size -= 1

    def contradiction(self) -> str:
        """In a commit: what of the list can't be right, "" if all may be."""
        items = 0
        bucket = self._first
        while bucket is not None:
            if not bucket.cnt:
                return "an empty bucket is listed"
            items += bucket.cnt
            bucket = bucket.behind
        return "" if items == self._work.nitems else f"{self._work.nitems} items count as listed, and {items} are"
