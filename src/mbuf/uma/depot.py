# cython: cdivision=True
"""The depot of a zone: a list of full buckets, for all CPUs. See uma_zone_domain in uma_int.h.

It also has the size of new buckets, and the most items that may be listed. Both follow the limit of the zone; reclaims
make buckets smaller. The list is linked through the buckets. Most methods are parts of a commit of the zone, so the
caller reads the clock before.
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
    """A list of full buckets. The bucket that was added last is taken first."""

    __slots__ = ("_first", "_work", "bucket_max", "bucket_min", "bucket_size", "clock", "most")

    def __init__(self, entries: int, clock: Callable[[], float]) -> None:
        if not 0 <= entries <= BUCKET_MAX:
            raise Inval(f"buckets of {entries} items: give 0 to {BUCKET_MAX}")
        #: Items of a new bucket; reclaims reduce them to `bucket_min`, and `bucket_max` is the most.
        self.bucket_size = entries
        self.bucket_min = entries
        self.bucket_max = BUCKET_MAX
        self.clock = clock
        #: The number of listed items stays below this.
        self.most = (1 << 64) - 1
        self._first: Any = None
        self._work = WorkingSet(clock())

    def __dealloc__(self) -> None:
        # In a loop: a list of any length needs no recursion.
        if cython.compiled:
            bucket = self._first
            self._first = None
            while bucket is not None:
                bucket = bucket.next

    @property
    def nitems(self) -> int:
        """Items listed."""
        return self._work.nitems

    def work(self) -> WorkingSet:
        """The working set, brought up to date."""
        now: float = self.clock()
        enter_commit()
        try:
            self._work.tick(now)
        finally:
            leave_commit()
        return self._work

    def set_maxcache(self, limit: int, cpus: int) -> None:
        """Set the sizes of buckets and list so that all caches together fit a limit. See uma_zone_set_maxcache."""
        buckets = 2 * cpus
        size = min(limit // buckets // 2, BUCKET_MAX) or int(limit >= buckets)
        enter_commit()
        try:
            self.bucket_size = self.bucket_max = size
            self.bucket_min = min(self.bucket_min, size)
            self.most = limit - buckets * size
        finally:
            leave_commit()

    def new_bucket(self) -> Bucket:
        """A new empty bucket."""
        return Bucket(min(entries_for(self.bucket_size), self.bucket_max))

    def pop(self, now: float) -> Bucket | None:
        """In a commit: take the bucket that was listed last; None if there is none."""
        self._work.tick(now)
        return self._pop()

    def _pop(self) -> Bucket | None:
        bucket: Bucket | None = self._first
        if bucket is not None:
            self._first = bucket.next
            bucket.next = None
            self._work.remove(bucket.cnt)
        return bucket

    def push(self, bucket: Bucket) -> bool:
        """In a commit: list a bucket; false if there are enough items, and the bucket stays the caller's."""
        if bucket.cnt == 0:
            return True
        if self._work.nitems + bucket.cnt >= self.most:
            return False
        self._push(bucket)
        return True

    def _push(self, bucket: Bucket) -> None:
        """In a commit: list a bucket."""
        bucket.next = self._first
        self._first = bucket
        self._work.add(bucket.cnt)

    def imported(self, count: int) -> None:
        """In a commit: tell the working set that `count` items were imported, because none were listed."""
        self._work.imported(count)

    def halve(self) -> None:
        """In a commit: a reclaim empties the caches of the CPUs; make buckets smaller."""
        self.bucket_size = (self.bucket_size + self.bucket_min) // 2

    def tick(self, request: int, now: float) -> int:
        """In a commit: the number of listed items that a reclaim leaves."""
        self._work.tick(now)
        return self._work.nitems - self._work.spare() if request == UMA_RECLAIM_TRIM else 0

    def shrink(self) -> None:
        """In a commit: after a reclaim, make buckets smaller by one item."""
        if self.bucket_size > self.bucket_min:
            self.bucket_size -= 1

    def contradiction(self) -> str:
        """In a commit: the first contradiction in the list, or ""."""
        items = 0
        bucket = self._first
        while bucket is not None:
            if not bucket.cnt:
                return "an empty bucket is listed"
            items += bucket.cnt
            bucket = bucket.next
        return "" if items == self._work.nitems else f"{self._work.nitems} items count as listed, and {items} are"
