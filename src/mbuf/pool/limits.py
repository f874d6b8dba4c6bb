"""How many mbufs and clusters there may be: the plan that is made before the zones, with the kernel's arithmetic.

    physmem, hw.physmem ---------+
                                 +-> realmem = the smaller of the two
    vm.kmem_size, kmem_size_max -+        |
                                          v
    maxmbufmem = kern.ipc.maxmbufmem, or realmem / 2; at most realmem / 4 * 3
                                          |
                                          v
    each kind of cluster:  its tunable, or maxmbufmem / size / divisor
    mbufs:                 their tunable, unless it is less than all clusters together (`least_mbufs`);
                           then the larger of maxmbufmem / 256 / 5 and all clusters together

A tunable of 0 means that it is not given. The sum of the clusters and the limits have 32 bits, and wrap around as in
the kernel; maxmbufmem has 64. Division is that of C, towards zero, so that negative numbers give the kernel's results
too. A limit of 0 or less is no limit: the zone is made without one.

Texts are read as the kernel's getenv_quad reads them: a number in decimal, octal (0) or hexadecimal (0x), and at most
one suffix. A text that it can't read leaves the default in place. See kmeminit and tunable_mbinit.

After boot the limit in force is the zone's (`Zone.limit`), and only a sysctl changes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from operator import index
from types import MappingProxyType
from typing import NamedTuple

from mbuf.const import PAGE_SIZE
from mbuf.errors import Inval
from mbuf.kinds import CLUSTERS, KINDS, MBUF, Kind
from mbuf.pool.suggest import unknown

MAXMBUFMEM = "kern.ipc.maxmbufmem"

PHYSMEM = "hw.physmem"
KMEM_SIZE = "vm.kmem_size"
KMEM_SIZE_MAX = "vm.kmem_size_max"

#: Tunables that set how much memory there is, in bytes; the kernel reads them as unsigned numbers.
SIZES = (PHYSMEM, KMEM_SIZE, KMEM_SIZE_MAX)

#: Tunables that have 64 bits; the others have 32.
WIDE = (MAXMBUFMEM, *SIZES)

#: Every tunable that the plan reads.
TUNABLES = (*WIDE, *(kind.sysctl for kind in KINDS))

#: The default of vm.kmem_size_max on amd64: three fifths of the kernel's address space. See VM_KMEM_SIZE_MAX.
_KMEM_MOST = 1319413950874

USE_EXT_PGS = "kern.ipc.mb_use_ext_pgs"
ZONE_WARNINGS = "vm.zone_warnings"

#: Other tunables that are read at boot; the plan ignores them.
SWITCHES = (USE_EXT_PGS, ZONE_WARNINGS)

_SUFFIX = MappingProxyType({"": 0, "k": 10, "m": 20, "g": 30, "t": 40})
_MOST_DIGITS = 100
_NUMBER = r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)(.?)"


def tunable(text: str) -> int | None:
    """The number that the kernel reads from the text of a tunable; None if it ignores the text. See getenv_quad."""
    parts = _parts(text)
    if parts is None:
        return None
    # strtoq stops at the ends of its range; the suffix then shifts without a check.
    value = min(max(parts[0], -(1 << 63)), (1 << 63) - 1)
    return wrap(value << parts[1], 64)


def written(text: str) -> int | None:
    """The number that the text of a tunable says, however large; None if it says none."""
    parts = _parts(text)
    return None if parts is None else parts[0] << parts[1]


def _parts(text: str) -> tuple[int, int] | None:
    """The digits of a text as a number, and the bits by which its suffix shifts it."""
    match = re.fullmatch(_NUMBER, text, re.DOTALL)
    if match is None or match[3].lower() not in _SUFFIX:
        return None
    sign, digits, suffix = match.groups()
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
    # So many digits are far beyond any range, and Python reads no more than some thousands.
    value = int(digits[2 * (base == 16) :].lstrip("0")[:_MOST_DIGITS] or "0", base)
    return -value if sign == "-" else value, _SUFFIX[suffix.lower()]


def wrap(value: int, bits: int) -> int:
    """The value as a signed number of that many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _quotient(value: int, by: int) -> int:
    """Division as in C: towards zero."""
    return -(-value // by) if value < 0 else value // by


def _unsigned(value: int) -> int:
    return value & ((1 << 64) - 1)


def _round_page(size: int) -> int:
    return -(-size // PAGE_SIZE) * PAGE_SIZE


class Memory(NamedTuple):
    """How much memory there is, in bytes: the start of the plan. See kmeminit."""

    #: Physical memory, or what hw.physmem leaves of it.
    physmem: int
    #: Memory that the kernel can use: vm.kmem_size.
    kmem_size: int
    #: Most that it can use: vm.kmem_size_max.
    kmem_size_max: int
    #: What limits are planned for: physical memory, or less if the kernel can't address all of it.
    realmem: int

    @classmethod
    def plan(
        cls, physmem: int, tunables: Mapping[str, int | str] = MappingProxyType({}), kmem: int | None = None
    ) -> Memory:
        """The memory of a machine with `physmem` bytes, and `kmem` bytes of kernel memory unless tunables set that.

        hw.physmem can make physical memory smaller, in whole pages. vm.kmem_size is rounded up to pages, and is at
        most twice the physical memory; if it is 0 or not given, kernel memory is all memory, up to vm.kmem_size_max.
        See kmeminit.
        """
        given = numbers(tunables)
        most = _unsigned(given.get(KMEM_SIZE_MAX, _KMEM_MOST))
        if PHYSMEM in given:
            physmem = min(physmem, _unsigned(given[PHYSMEM]) // PAGE_SIZE * PAGE_SIZE)
        size = _unsigned(given.get(KMEM_SIZE, 0))
        if size:
            kmem = _round_page(min(size, 2 * max(physmem, 0)))
        elif kmem is None or KMEM_SIZE_MAX in given:
            kmem = _round_page(max(physmem, 0)) if kmem is None else kmem
            if 0 < most <= kmem:
                kmem = _round_page(most)
        return cls(physmem, kmem, most, min(wrap(physmem, 64), wrap(kmem, 64)))


def least_mbufs(clusters: Iterable[int]) -> int:
    """The least limit of mbufs that goes with these limits of clusters: a cluster is of no use without an mbuf.

    Boot raises a lower limit of mbufs to this, and sysctl refuses to raise a limit of clusters while that of mbufs
    is lower. See tunable_mbinit and sysctl_nmbclusters.
    """
    return sum(clusters)


class Limits(NamedTuple):
    """The limits planned when a pool is made, as tunable_mbinit computes them. A limit of 0 or less means no limit.

    Each limit is an attribute by the name of the kernel's variable: `nmbufs`, `nmbclusters`, `nmbjumbop`, ...
    """

    #: Bytes that mbufs and clusters may take together; the default limits are parts of it.
    maxmbufmem: int
    #: The limits, in the order of `KINDS`.
    counts: tuple[int, ...]

    def __getattr__(self, name: str) -> int:
        for kind in KINDS:
            if kind.limit == name:
                return self.of(kind)
        raise AttributeError(f"there is no limit {name}")

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *(kind.limit for kind in KINDS)]

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind.limit}={self.of(kind)}" for kind in KINDS)
        return f"Limits(maxmbufmem={self.maxmbufmem}, {counts})"

    @classmethod
    def plan(
        cls, physmem: int, tunables: Mapping[str, int | str] = MappingProxyType({}), kmem: int | None = None
    ) -> Limits:
        """Plan the limits for `physmem` bytes of memory, of which the kernel can address `kmem`. See tunable_mbinit.

        `tunables` maps names to numbers, or to texts as in loader.conf; an unknown name raises `Inval`.
        """
        given = numbers(tunables)
        realmem = Memory.plan(physmem, tunables, kmem).realmem
        maxmbufmem = given.get(MAXMBUFMEM, _quotient(realmem, 2))
        maxmbufmem = min(maxmbufmem, _quotient(realmem, 4) * 3)
        counts = []
        for kind in CLUSTERS:
            count = wrap(given.get(kind.sysctl, 0), 32)
            counts.append(count or wrap(_quotient(_quotient(maxmbufmem, kind.size), kind.divisor), 32))
        least = wrap(least_mbufs(counts), 32)
        nmbufs = wrap(given.get(MBUF.sysctl, 0), 32)
        if nmbufs < least:
            nmbufs = wrap(max(_quotient(_quotient(maxmbufmem, MBUF.size), MBUF.divisor), least), 32)
        return cls(maxmbufmem, (nmbufs, *counts))

    def of(self, kind: Kind) -> int:
        """Return the limit planned for a kind of zone."""
        return self.counts[KINDS.index(kind)]


def numbers(tunables: Mapping[str, int | str]) -> dict[str, int]:
    """The tunables of the plan, as the numbers that the kernel reads. An unknown name raises `Inval`."""
    found = {}
    for name, value in tunables.items():
        if name in SWITCHES:
            continue
        if name not in TUNABLES:
            raise Inval(unknown("tunable", name, (*TUNABLES, *SWITCHES)))
        number = tunable(value) if isinstance(value, str) else wrap(index(value), 64)
        if number is not None:
            found[name] = number
    return found
