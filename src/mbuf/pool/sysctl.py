"""The `kern.ipc` names of a pool, to be read and set as sysctl(8) would.

A limit goes only up, and a cluster limit only while there are mbufs for all clusters; whatever is refused
changes nothing. The numbers live elsewhere: here are their names and rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import partial
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from mbuf.const import MHLEN
from mbuf.errors import Inval
from mbuf.pool.limits import CLUSTERS, KINDS, MAXMBUFMEM, MBUF, Kind

if TYPE_CHECKING:
    from mbuf.pool.pool import Pool


class Node(NamedTuple):
    """A name: what it is, in the kernel's words, where its value is, and how it is set, if it can be."""

    says: str
    read: Callable[[Pool], int]
    write: Callable[[Pool, str, int], None] | None = None


class Sysctl(MutableMapping[str, int]):
    """`pool.sysctl["kern.ipc.nmbclusters"]`: reads the value in force, or raises it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __iter__(self) -> Iterator[str]:
        return iter(NODES)

    def __len__(self) -> int:
        return len(NODES)

    def __getitem__(self, name: str) -> int:
        return NODES[name].read(self._pool)

    def __setitem__(self, name: str, value: int) -> None:
        """Set a value. Raises `Inval` when the kernel would answer EINVAL, with the arithmetic.

        Limits go up only. Whatever kern.ipc.num_snd_tags is set to, it counts from 0 then.
        """
        write = NODES[name].write
        if write is None:
            raise Inval(f"{name} is read only: it can be set when the pool is made")
        write(self._pool, name, index(value))

    def __delitem__(self, name: str) -> None:
        raise Inval(f"{name} can't be deleted: set it instead")

    def describe(self, name: str) -> str:
        """What the value is, in the kernel's words."""
        return NODES[name].says


def _limit(kind: Kind) -> Node:
    """The limit of a zone. See sysctl_nmbclusters and its like."""

    def write(pool: Pool, name: str, value: int) -> None:
        now = _in_force(pool, kind)
        if value == now:
            return
        if not now < value < 1 << 31:
            raise Inval(f"{name} is {now} and can only go up, to less than {1 << 31}: {value} can't be")
        if kind is not MBUF:
            _enough_mbufs(pool, name)
        getattr(pool.own, kind.attr).set_max(value)
        event = pool.changes.get(kind.sysctl)
        if event is not None:
            event.invoke()

    return Node(kind.says, partial(_in_force, kind=kind), write)


def _in_force(pool: Pool, kind: Kind) -> int:
    # A zone without a limit keeps the number that was planned: 0 or less.
    limit: int = getattr(pool.own, kind.attr).limit
    return limit or pool.limits.of(kind)


def _enough_mbufs(pool: Pool, name: str) -> None:
    """The rule looks at the limits in force, not at the new one. See sysctl_nmbclusters."""
    clusters = [_in_force(pool, kind) for kind in CLUSTERS]
    mbufs = _in_force(pool, MBUF)
    if mbufs < sum(clusters):
        plus = " + ".join(map(str, clusters))
        raise Inval(f"{name}: {MBUF.sysctl} is {mbufs}, less than {plus} clusters; raise that first")


def _snd_tags(pool: Pool) -> int:
    count: int = pool.snd_tags.count
    return count


def _count_anew(pool: Pool, name: str, value: int) -> None:
    pool.snd_tags.count = 0


def _switched(pool: Pool) -> int:
    return 1 if pool.mb_use_ext_pgs else 0


def _switch(pool: Pool, name: str, value: int) -> None:
    pool.mb_use_ext_pgs = value != 0


NODES: Mapping[str, Node] = MappingProxyType(
    {
        MAXMBUFMEM: Node("Maximum real memory allocatable to various mbuf types", lambda pool: pool.limits.maxmbufmem),
        "kern.ipc.max_linkhdr": Node("Size of largest link layer header", lambda pool: pool.max_linkhdr),
        "kern.ipc.max_protohdr": Node("Size of largest protocol layer header", lambda pool: pool.max_protohdr),
        "kern.ipc.max_hdr": Node(
            "Size of largest link plus protocol header", lambda pool: pool.max_linkhdr + pool.max_protohdr
        ),
        "kern.ipc.max_datalen": Node(
            "Minimum space left in mbuf after max_hdr", lambda pool: MHLEN - pool.max_linkhdr - pool.max_protohdr
        ),
        "kern.ipc.num_snd_tags": Node("# of active mbuf send tags", _snd_tags, _count_anew),
        "kern.ipc.mb_use_ext_pgs": Node("Use unmapped mbufs for sendfile(2) and TLS offload", _switched, _switch),
        **{kind.sysctl: _limit(kind) for kind in KINDS},
    }
)
