# cython: nonecheck=True
"""The counters and caches of a zone, and its statistics."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.uma.backend import Backend
    from mbuf.uma.cpu import Cpus
    from mbuf.uma.depot import Depot
    from mbuf.uma.limit import Limit
    from mbuf.uma.stat import ZoneStat
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval
from mbuf.uma.bucket import Bucket
from mbuf.uma.cache import Cache
from mbuf.uma.item import ItemOwner

if cython.compiled:
    from cython.cimports.cpython.mem import PyMem_Calloc, PyMem_Free
    from cython.cimports.cpython.ref import Py_INCREF, Py_XDECREF, PyObject


@cache
def zone_stat_class() -> type[ZoneStat]:
    """The class `ZoneStat`, which the first pool loads: see `ext_class`."""
    from mbuf.uma.stat import ZoneStat

    return ZoneStat


@cython.no_gc
@cython.cclass
class Counters(ItemOwner):
    """The fields of a zone that count: items allocated and freed, through the caches and past them."""

    #: `adopted` items were charged here, and handed out by another zone. While `bypassed` is above 0, freed items
    #: bypass the caches: see zone.py.
    __slots__ = (
        "_allocs",
        "_count",
        "_fails",
        "_frees",
        "_caches",
        "_limited",
        "_none",
        "_waiting",
        "adopted",
        "backend",
        "caching",
        "closed",
        "cpus",
        "depot",
        "limiter",
        "name",
        "bypassed",
        "primary",
        "size",
    )
    _caches: Any
    #: The zone's name, as in `vmstat -z`.
    name: str
    #: Bytes of one item, as requested.
    size: int

    def init_counters(
        self, name: str, size: int, backend: Backend, primary: bool, limiter: Limit, depot: Depot
    ) -> None:
        """Set the fields. A `primary` zone counts the free items of its backend."""
        self.name = name
        self.size = size
        self.backend = backend
        self.primary = primary
        self.limiter = limiter
        self.depot = depot
        # True if the last request that failed was denied by the limit.
        self._limited = False
        # The buckets of imports that may wait, linked.
        self._waiting: Any = None
        self.adopted = 0
        self.bypassed = 0
        self.caching = False
        self.closed = False
        self._allocs = 0
        self._frees = 0
        self._fails = 0

    def init_caches(self, cpus: Cpus) -> None:
        """Create a cache for each CPU."""
        count = cpus.count
        self.cpus = cpus
        # The bucket that stands for "no bucket".
        self._none = Bucket(0)
        if cython.compiled:
            if self._caches != cython.NULL:
                raise Inval(f"{self.name}: this zone is initialized already")
            self._caches = cython.cast(cython.pointer(cython.pointer(PyObject)), PyMem_Calloc(count, 8))
            if self._caches == cython.NULL:
                raise MemoryError
        else:
            self._caches = [None] * count
        self._count = 0
        for n in range(count):
            here = Cache(self._none)
            if cython.compiled:
                Py_INCREF(here)
                self._caches[n] = cython.cast(cython.pointer(PyObject), here)
            else:
                self._caches[n] = here
            self._count += 1

    def __dealloc__(self) -> None:
        if cython.compiled:
            while self._count:
                self._count -= 1
                Py_XDECREF(self._caches[self._count])
            PyMem_Free(self._caches)

    @property
    def used(self) -> int:
        """Items handed out. See uma_zone_get_cur."""
        allocs, frees, _ = self._counts()
        return max(allocs - frees, 0)

    @property
    def balance(self) -> int:
        """Items handed out less items freed; below 0 if items of other zones were freed here."""
        allocs, frees, _ = self._counts()
        return allocs - frees

    @property
    def cached(self) -> int:
        """Free items in the caches and the depot."""
        return self._counts()[2]

    def has_cached(self) -> bool:
        """True if there are free items in the caches or the depot."""
        if self.depot._work.nitems:
            return True
        found = 0
        for n in range(self._count):
            found += cython.cast(Cache, self._caches[n]).count()
        return found > 0

    def _counts(self) -> tuple[int, int, int]:
        allocs = self._allocs
        frees = self._frees
        cached = self.depot.nitems
        for n in range(self._count):
            here = cython.cast(Cache, self._caches[n])
            allocs += here.allocs
            frees += here.frees
            cached += here.count()
        return allocs, frees, cached

    def cache_counts(self) -> list[tuple[int, int, int]]:
        """(allocs, frees, free items) past the caches and in the depot, then for the cache of each CPU."""
        counts = [(self._allocs, self._frees, self.depot.nitems)]
        for n in range(self._count):
            here = cython.cast(Cache, self._caches[n])
            counts.append((here.allocs, here.frees, here.count()))
        return counts

    def stat(self) -> ZoneStat:
        """A snapshot of the zone's statistics."""
        allocs, frees, cached = self._counts()
        return zone_stat_class()(
            name=self.name,
            size=self.size,
            limit=self.limiter.max,
            sysctl=self.limiter.sysctl,
            used=max(allocs - frees, 0),
            free=cached + (self.backend.free if self.primary else 0),
            cached=cached,
            allocs=max(allocs, frees),
            frees=frees,
            fails=self._fails,
            sleeps=self.limiter.sleeps,
            xdomain=0,
            sleepers=len(self.limiter.waiters),
            held=self.held,
            bucket_size=self.depot.bucket_size,
            pages=self.backend.pages,
            warnings_suppressed=self.limiter.suppressed,
        )
