"""How much memory a pool has, and what bounds it: a budget alone, or FreeBSD's limits.

Pool("64M"), Pool(64 << 20)          a budget: zones have no limits; `limits` and `reserve_for` refine it
Pool(), Pool(vm=...), tunables=...   FreeBSD's limits, which tunable_mbinit plans for that memory
limits="freebsd"                     the same for a number of bytes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import index
from types import MappingProxyType
from typing import Any, NamedTuple

from mbuf.const import PAGE_SIZE
from mbuf.errors import Inval
from mbuf.kinds import KINDS, MBUF, Kind
from mbuf.pool.limits import Limits, Memory
from mbuf.pool.suggest import unknown
from mbuf.uma.slab import Layout, layout
from mbuf.vm.vm import Vm, host_memory

#: The value of `limits` for FreeBSD's.
FREEBSD = "freebsd"

_UNITS = MappingProxyType({"": 0, "k": 10, "m": 20, "g": 30, "t": 40})
_SIZE = re.compile(r"\s*([0-9]{1,18})\s*(?:([kmgt])(?:ib)?|b)?\s*", re.IGNORECASE)

#: The kinds by their names in `pool.zones`, in `pool.stat()`, and as keys of `limits` and `reserve_for`.
BY_NAME = MappingProxyType({kind.attr: kind for kind in KINDS})


class Sizing(NamedTuple):
    """The memory of a pool and its bounds."""

    #: The pages; None if they are still to be made, of `memory.physmem` bytes.
    vm: Vm | None
    memory: Memory
    #: FreeBSD's limits, or, with a budget, what is possible.
    limits: Limits
    #: True if memory alone is the bound.
    budget: bool
    #: With a budget, the most items of a kind, and bytes that are reserved for one.
    most: dict[str, int]
    reserved: dict[str, int]


def plan(memory: Any, vm: Any, tunables: Mapping[str, int | str], limits: Any, reserve_for: Any) -> Sizing:
    """The sizing for the arguments of `Pool`; `Inval` or TypeError for arguments that make no sense together."""
    if isinstance(memory, Vm):
        memory, vm = None, memory if vm is None else _both()
    if vm is not None:
        if not isinstance(vm, Vm):
            raise TypeError(f"Pool: vm must be a Vm, not a {type(vm).__name__}; give bytes as memory")
        if memory is not None:
            _both()
    if isinstance(limits, str) and limits != FREEBSD:
        raise Inval(f'Pool: limits {limits!r}: give "{FREEBSD}", or a mapping such as {{"clust": 1000}}')
    if memory is None or tunables or isinstance(limits, str):
        if (limits is not None and not isinstance(limits, str)) or reserve_for is not None:
            raise Inval(
                "Pool: limits and reserve_for refine a pool with a budget: give its memory, as in "
                'Pool("64M", limits={"clust": 1000}), and neither a Vm nor tunables'
            )
        size = vm.realmem if vm is not None else host_memory() if memory is None else parse_size(memory)
        return Sizing(vm, Memory.plan(size, tunables), Limits.plan(size, tunables), False, {}, {})
    size = parse_size(memory)
    if size < PAGE_SIZE:
        raise Inval(f'Pool: memory {memory!r}: give {PAGE_SIZE} bytes or more, or a text such as "64M"')
    most = _counts("limits", limits)
    reserved = {name: parse_size(value, f"reserve_for {name}") for name, value in _named("reserve_for", reserve_for)}
    if sum(reserved.values()) >= size:
        raise Inval(f"Pool: reserve_for takes {sum(reserved.values())} bytes: leave some of the {size} for others")
    pages = size // PAGE_SIZE
    return Sizing(
        None, Memory.plan(size), Limits(size, tuple([_possible(kind, pages) for kind in KINDS])), True, most, reserved
    )


def _both() -> Any:
    raise Inval("Pool: give memory or a Vm, not both")


def parse_size(value: Any, what: str = "memory") -> int:
    """Bytes, from a number or a text such as "64M", "64MiB" or "512 K"; units are powers of 1024."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None:
            hint = ""
            if re.fullmatch(r"\s*[0-9]+\s*[kmgt]b\s*", value, re.IGNORECASE):
                hint = f": {value.strip()[:-1]} or {value.strip()[:-1]}iB means powers of 1024"
            raise Inval(f'Pool: {what} {value!r}: give a whole number with K, M, G or T, such as "64M"{hint}')
        size = int(match[1]) << _UNITS[(match[2] or "").lower()]
    elif isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f'Pool: {what}: give bytes, as a whole number or a text such as "64M", not {value!r}')
    else:
        size = index(value)
    if not 0 <= size < 1 << 62:
        raise Inval(f"Pool: {what} {size}: give a number of bytes")
    return size


def _named(what: str, given: Any) -> list[tuple[str, Any]]:
    """The items of a mapping whose keys are kinds."""
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise TypeError(f"Pool: {what}: give a mapping of kinds ({', '.join(BY_NAME)}), not a {type(given).__name__}")
    for name in given:
        if name not in BY_NAME:
            raise Inval(f"Pool: {what}: {unknown('kind', str(name), BY_NAME)}")
    return [(name, given[name]) for name in BY_NAME if name in given]


def _counts(what: str, given: Any) -> dict[str, int]:
    found = {}
    for name, value in _named(what, given):
        if isinstance(value, bool) or not hasattr(value, "__index__") or not 1 <= index(value) < 1 << 31:
            raise Inval(f"Pool: {what}: {name} {value!r}: give the most items of this kind, 1 or more")
        found[name] = index(value)
    return found


def _possible(kind: Kind, pages: int) -> int:
    """How many mbufs there can be on so many pages; for a kind of cluster, how many mbufs with one."""
    mbufs = layout(MBUF.size, MBUF.align)
    if kind is MBUF:
        return pages // mbufs.pages * mbufs.items
    each = layout(kind.size, kind.align)
    return most_pairs(pages, each, mbufs.items, 0, 0)


def most_pairs(pages: int, each: Layout, mbufs: int, clusters_free: int, mbufs_free: int) -> int:
    """How many mbufs with a cluster `pages` free pages and free items give, with `mbufs` to a page."""

    def cost(n: int) -> int:
        slabs = -(-max(n - clusters_free, 0) // each.items)
        return slabs * each.pages - (-max(n - mbufs_free, 0) // mbufs)

    low, high = 0, clusters_free + mbufs_free + pages * (each.items + mbufs) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= pages else (low, middle)
    return low
