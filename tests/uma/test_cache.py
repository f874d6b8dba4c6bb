"""A cache by itself; zones fill and empty theirs in test_zone.py."""

from mbuf.uma.bucket import Bucket
from mbuf.uma.cache import Cache, LockedCache, cache
from mbuf.vm.lock import Lock
from mbuf.vm.page import compiled


def test_a_new_cache_has_no_bucket() -> None:
    none = Bucket(0)
    made = cache(none, Lock())
    assert (made.alloc, made.free, made.allocs, made.frees) == (none, none, 0, 0)


def test_a_cache_takes_a_lock_only_where_it_must() -> None:
    assert isinstance(cache(Bucket(0), Lock()), Cache if compiled() else LockedCache)
    assert isinstance(cache(Bucket(0), Lock()), LockedCache) == (not compiled())
