"""The `kern.ipc` names of a pool, to be read and set as sysctl(8) would.

A limit goes only up, and a cluster limit only while there are mbufs for all clusters; whatever is refused
changes nothing. The numbers live elsewhere: here are their names and rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING

from mbuf.const import MHLEN
from mbuf.errors import Inval
from mbuf.pool.limits import CLUSTERS, KINDS, MAXMBUFMEM, MBUF, Kind

if TYPE_CHECKING:
    from mbuf.pool.pool import Pool

_KINDS = MappingProxyType({kind.sysctl: kind for kind in KINDS})

#: Those that can't be set: what each says, and where its value is.
_FIXED: Mapping[str, tuple[str, Callable[[Pool], int]]] = MappingProxyType(
    {
        MAXMBUFMEM: (
            "Maximum real memory allocatable to various mbuf types",
            lambda pool: pool.limits.maxmbufmem,
        ),
        "kern.ipc.max_linkhdr": ("Size of largest link layer header", lambda pool: pool.max_linkhdr),
        "kern.ipc.max_protohdr": ("Size of largest protocol layer header", lambda pool: pool.max_protohdr),
        "kern.ipc.max_hdr": (
            "Size of largest link plus protocol header",
            lambda pool: pool.max_linkhdr + pool.max_protohdr,
        ),
        "kern.ipc.max_datalen": (
            "Minimum space left in mbuf after max_hdr",
            lambda pool: MHLEN - pool.max_linkhdr - pool.max_protohdr,
        ),
    }
)
_NUM_SND_TAGS = "kern.ipc.num_snd_tags"


class Sysctl(MutableMapping[str, int]):
    """`pool.sysctl["kern.ipc.nmbclusters"]`: reads the value in force, or raises it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __iter__(self) -> Iterator[str]:
        return iter((*_FIXED, _NUM_SND_TAGS, *_KINDS))

    def __len__(self) -> int:
        return len(_FIXED) + 1 + len(_KINDS)

    def __getitem__(self, name: str) -> int:
        if name in _FIXED:
            return _FIXED[name][1](self._pool)
        if name == _NUM_SND_TAGS:
            return int(self._pool.snd_tags.count)
        return self._value(_KINDS[name])

    def __setitem__(self, name: str, value: int) -> None:
        """Raise a limit. Raises `Inval` when the kernel would answer EINVAL, with the arithmetic.

        Whatever kern.ipc.num_snd_tags is set to, it counts from 0 then.
        """
        if name in _FIXED:
            raise Inval(f"{name} is read only: it can be set when the pool is made")
        if name == _NUM_SND_TAGS:
            self._pool.snd_tags.count = 0 * index(value)
            return
        kind = _KINDS[name]
        now, value = self._value(kind), index(value)
        if value == now:
            return
        if not now < value < 1 << 31:
            raise Inval(f"{name} is {now} and can only go up, to less than {1 << 31}: {value} can't be")
        if kind is not MBUF:
            self._enough_mbufs(name)
        self._zone_max(kind, value)

    def __delitem__(self, name: str) -> None:
        raise Inval(f"{name} can't be deleted: set it instead")

    def describe(self, name: str) -> str:
        """What the value is, in the kernel's words."""
        if name == _NUM_SND_TAGS:
            return "# of active mbuf send tags"
        return _FIXED[name][0] if name in _FIXED else _KINDS[name].says

    def _value(self, kind: Kind) -> int:
        # A zone without a limit keeps the number that was planned: 0 or less.
        limit: int = getattr(self._pool.zones, kind.attr).limit
        return limit or self._pool.limits.of(kind)

    def _enough_mbufs(self, name: str) -> None:
        """The rule looks at the limits in force, not at the new one. See sysctl_nmbclusters."""
        clusters = [self._value(kind) for kind in CLUSTERS]
        mbufs = self._value(MBUF)
        if mbufs < sum(clusters):
            plus = " + ".join(map(str, clusters))
            raise Inval(f"{name}: {MBUF.sysctl} is {mbufs}, less than {plus} clusters; raise that first")

    def _zone_max(self, kind: Kind, value: int) -> None:
        getattr(self._pool.zones, kind.attr).set_max(value)
        event = self._pool.changes.get(kind.sysctl)
        if event is not None:
            event.invoke()
