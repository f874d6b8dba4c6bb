"""Checks of tunables: values that the kernel ignores or reads differently, and limits that contradict each other.

The kernel reports none of this. Works on numbers and texts; changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from mbuf.const import PAGE_SIZE
from mbuf.errors import Inval
from mbuf.kinds import CLUSTER, CLUSTERS, MBUF
from mbuf.pool.limits import (
    KMEM_SIZE,
    MAXMBUFMEM,
    PHYSMEM,
    SIZES,
    SWITCHES,
    WIDE,
    Limits,
    Memory,
    least_mbufs,
    numbers,
    tunable,
    wrap,
    written,
)


class Given(int):
    """A number, and where it was read: a file and its line, or a variable."""

    where: str

    def __new__(cls, value: int, where: str = "") -> Given:
        given = super().__new__(cls, value)
        given.where = where
        return given


def prefix(where: object) -> str:
    """The beginning of a message about something that was read there."""
    return f"{where}: " if where else ""


def check_value(name: str, value: int | str) -> str:
    """A warning, if the kernel does not read a value as it is written; else an empty text."""
    number = read(name, value)
    if number is None:
        return "the kernel ignores this: give digits, and after them at most one of k, m, g, t"
    if name in SWITCHES:
        return ""
    wanted = written(value) if isinstance(value, str) else value
    if number != wanted:
        return f"too large for the kernel, which reads it as {number}{_meaning(name, number)}"
    if isinstance(value, str) and re.match(r"\s*[+-]?0[0-7]", value):
        return f"with a 0 in front this is octal, so {number}"
    # A number that was read from a file or a variable was remarked on there.
    if number < 0 and not isinstance(value, Given) and _meaning(name, number):
        return f"the kernel reads it as {number}{_meaning(name, number)}"
    return ""


def _meaning(name: str, number: int) -> str:
    if name == MAXMBUFMEM or number > 0:
        return ""
    if name in SIZES and number < 0:
        return ": that means all memory"
    if number == 0:
        return ": that means automatic"
    # Fewer mbufs than clusters are too few, and -1 is fewer.
    return "" if name == MBUF.sysctl else ": that means no limit"


def read(name: str, value: int | str) -> int | None:
    """The number that the kernel reads from a tunable; None if it ignores the tunable."""
    if name in SWITCHES:
        return _switch(value)
    number = tunable(value) if isinstance(value, str) else wrap(int(value), 64)
    return number if number is None or name in WIDE else wrap(number, 32)


def _switch(value: int | str) -> int | None:
    """The number of a one-byte tunable, which may be surrounded by blanks and commas. See getenv_array."""
    number = written(value.strip(" \t,")) if isinstance(value, str) else value
    return number if number is not None and 0 <= number < 256 else None


def switch(tunables: Mapping[str, int | str], name: str, default: int) -> int:
    """The value of a switch, or the default."""
    number = read(name, tunables[name]) if name in tunables else None
    return default if number is None else number


def check_tunables(tunables: Mapping[str, int | str], physmem: int, limits: Limits) -> Iterator[str]:
    """Warnings about tunables and about the limits planned with them, one line each.

    Raises `Inval` for limits that contradict each other, and for too little memory.
    """
    for name, value in tunables.items():
        warning = check_value(name, value)
        if warning:
            yield f'{_where(tunables, name)}{name}="{value}": {warning}'
    given = {name: number if name in WIDE else wrap(number, 32) for name, number in numbers(tunables).items()}
    _check_sum(tunables, given, limits)
    realmem = Memory.plan(physmem, tunables).realmem
    yield from _check_sizes(tunables, given, physmem)
    _check_memory(limits)
    memory = given.get(MAXMBUFMEM, limits.maxmbufmem)
    if memory != limits.maxmbufmem:
        yield (
            f"{_where(tunables, MAXMBUFMEM)}{MAXMBUFMEM}={memory} is more than three quarters of {realmem} bytes "
            f"of memory: the kernel takes {limits.maxmbufmem}"
        )
    if MAXMBUFMEM in given and memory <= 0:
        yield f"{_where(tunables, MAXMBUFMEM)}{MAXMBUFMEM}={memory} leaves no limit but those that are given"
    yield from _check_limits(tunables, given, limits)


def _check_sizes(tunables: Mapping[str, int | str], given: Mapping[str, int], physmem: int) -> Iterator[str]:
    """Warnings about the tunables that set how much memory there is."""
    for name in (PHYSMEM, KMEM_SIZE):
        size = given.get(name, 0)
        if 0 < size < PAGE_SIZE or (name == PHYSMEM and size == 0 and name in given):
            raise Inval(f"{_where(tunables, name)}{name}={size}: give bytes of memory, {PAGE_SIZE} or more")
    if given.get(PHYSMEM, 0) > physmem:
        yield (
            f"{_where(tunables, PHYSMEM)}{PHYSMEM}={given[PHYSMEM]} is more than there is: "
            f"the {physmem} bytes of memory are used"
        )


def _check_limits(tunables: Mapping[str, int | str], given: Mapping[str, int], limits: Limits) -> Iterator[str]:
    """Warnings about limits that the kernel replaces."""
    clusters = [limits.of(kind) for kind in CLUSTERS]
    mbufs = given.get(MBUF.sysctl, 0)
    if mbufs and mbufs != limits.nmbufs:
        yield (
            f"{_where(tunables, MBUF.sysctl)}{MBUF.sysctl}={mbufs} is less than {_sum_text(clusters)} clusters: "
            f"the kernel takes {limits.nmbufs} instead"
        )
    if least_mbufs(clusters) >= 1 << 31:
        yield f"{_sum_text(clusters)} clusters are more than {(1 << 31) - 1}: the kernel takes {limits.nmbufs} mbufs"


def _check_sum(tunables: Mapping[str, int | str], given: Mapping[str, int], limits: Limits) -> None:
    """Refuse fewer mbufs than clusters, if both were given."""
    mbufs = given.get(MBUF.sysctl, 0)
    clusters = {kind.sysctl: given[kind.sysctl] for kind in CLUSTERS if given.get(kind.sysctl, 0) > 0}
    if mbufs and clusters and mbufs < least_mbufs(clusters.values()):
        raise Inval(
            f"{_where(tunables, MBUF.sysctl)}{MBUF.sysctl}={mbufs} is less than {_sum_text(clusters.values())}, the "
            f"clusters of {', '.join(clusters)}; raise it, or leave it out (the kernel would take {limits.nmbufs})"
        )


def _check_memory(limits: Limits) -> None:
    """Refuse memory for which the kernel would plan 0 clusters, which it reads as no limit."""
    if limits.maxmbufmem > 0 and limits.of(CLUSTER) == 0:
        least = 2 * CLUSTER.divisor * CLUSTER.size
        raise Inval(
            f"{MAXMBUFMEM}={limits.maxmbufmem} is too little for one cluster: give the pool {least} bytes of memory "
            f"or more, or set {CLUSTER.sysctl} (the kernel would have no limit)"
        )


def _sum_text(counts: Iterable[int]) -> str:
    """`1 + 2 = 3`."""
    terms = list(counts)
    return " + ".join(map(str, terms)) + (f" = {sum(terms)}" if len(terms) > 1 else "")


def _where(tunables: Mapping[str, int | str], name: str) -> str:
    return prefix(getattr(tunables[name], "where", ""))
