"""The sysctl tree of a pool, read and set as sysctl(8) does: the names, their rules, and where each value is stored.

A limit can only be raised, and a limit of clusters only while there are mbufs for all clusters. A refused change
changes nothing. In a pool with a budget, a limit reads as what the whole memory holds, or as the limit given for that
kind, and can't be set. The names of single zones are in `sysctl_uma`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import partial
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mbuf.const import MHLEN, VM_LOW_KMEM, VM_LOW_PAGES
from mbuf.errors import Inval, NotSupported
from mbuf.kinds import CLUSTERS, KINDS, MBUF, Kind
from mbuf.pool.limits import (
    KMEM_SIZE,
    KMEM_SIZE_MAX,
    MAXMBUFMEM,
    PHYSMEM,
    TUNABLES,
    USE_EXT_PGS,
    least_mbufs,
    wrap,
)
from mbuf.pool.oid import Node
from mbuf.pool.suggest import unknown
from mbuf.pool.sysctl_uma import VM_NODES

if TYPE_CHECKING:
    from mbuf.pool.subsystem import Subsystem


class Sysctl(MutableMapping[str, Any]):
    """A mapping of names to values: `pool.sysctl["kern.ipc.nmbclusters"]`.

    Reading gives the value in force, setting a limit raises it. Values are numbers, some of vm.uma are texts, and
    vm.zone_stats is bytes. An unknown name raises `KeyError`.
    """

    def __init__(self, pool: Subsystem) -> None:
        self._pool = pool

    def __iter__(self) -> Iterator[str]:
        return iter(NODES)

    def __len__(self) -> int:
        return len(NODES)

    def __getitem__(self, name: str) -> Any:
        """Return the value in force. Raises `KeyError` for an unknown name."""
        return _node(name).read(self._pool)

    def __setitem__(self, name: str, value: int) -> None:
        """Set a value. Raises `Inval`, with the numbers, where the kernel returns EINVAL or EPERM.

        A limit can only be raised. Setting kern.ipc.num_snd_tags to any value sets it to 0, as in the kernel.
        """
        write = _node(name).write
        if write is None:
            # The others are counted.
            fixed = name.startswith("kern.") or name in TUNABLES
            raise Inval(f"{name} is read only{': it can be set when the pool is made' * fixed}")
        write(self._pool, name, index(value))

    def __delitem__(self, name: str) -> None:
        raise Inval(f"{name} can't be deleted: set it instead")

    def describe(self, name: str) -> str:
        """Return the description of a name, in the kernel's words."""
        return _node(name).description

    def type(self, name: str) -> str:
        """Return the type of a value, as `sysctl -t` prints it."""
        return _node(name).type

    def format(self, name: str) -> str:
        """Return the format of an opaque value, as `sysctl -o` prints it; an empty text for other values."""
        return _node(name).format

    def under(self, name: str) -> tuple[str, ...]:
        """Return the name itself, or all names below it (`kern.ipc`, `vm.uma.mbuf`); raises `KeyError` for none."""
        if name in NODES:
            return (name,)
        below = tuple(each for each in NODES if each.startswith(f"{name}."))
        if not below:
            raise KeyError(unknown("name", name, NODES))
        return below


def _node(name: str) -> Node:
    if name not in NODES:
        raise KeyError(unknown("name", name, NODES))
    return NODES[name]


def _limit(kind: Kind) -> Node:
    """The limit of a zone. See sysctl_nmbclusters and its like."""

    def write(pool: Subsystem, name: str, value: int) -> None:
        if pool.budget is not None:
            raise NotSupported(
                f"{name} can't be set: this pool is bounded by its memory. Make a pool with more memory, or limit a "
                f'kind, as with Pool("64M", limits={{"{kind.attr}": {value}}}), or make one with limits="freebsd"'
            )
        now = _in_force(pool, kind)
        if value == now:
            return
        if not now < value < 1 << 31:
            raise Inval(f"{name} is {now} and can only go up, to less than {1 << 31}: {value} can't be")
        if kind is not MBUF:
            _check_mbufs(pool, name)
        getattr(pool.own, kind.attr).set_max(value)
        event = pool.changes.get(kind.sysctl)
        if event is not None:
            event.invoke()

    return Node(kind.description, "integer", partial(_in_force, kind=kind), write)


def _in_force(pool: Subsystem, kind: Kind) -> int:
    # A zone without a limit keeps the number that was planned: 0 or less.
    limit: int = getattr(pool.own, kind.attr).limit
    return limit or pool.limits.of(kind)


def _check_mbufs(pool: Subsystem, name: str) -> None:
    """Refuse if there are fewer mbufs than clusters by the limits in force. See sysctl_nmbclusters.

    As in the kernel, the new limit is not part of the sum.
    """
    clusters = [_in_force(pool, kind) for kind in CLUSTERS]
    mbufs = _in_force(pool, MBUF)
    if mbufs < least_mbufs(clusters):
        plus = " + ".join(map(str, clusters))
        raise Inval(f"{name}: {MBUF.sysctl} is {mbufs}, less than {plus} clusters; raise that first")


def _snd_tags(pool: Subsystem) -> int:
    count: int = pool.snd_tags.count
    return count


def _reset_snd_tags(pool: Subsystem, name: str, value: int) -> None:
    pool.snd_tags.count = 0


def _ext_pgs(pool: Subsystem) -> int:
    return 1 if pool.mb_use_ext_pgs else 0


def _set_ext_pgs(pool: Subsystem, name: str, value: int) -> None:
    pool.mb_use_ext_pgs = value != 0


def _period(pool: Subsystem) -> int:
    return wrap(int(min(pool.vm.lowmem_period, _UINT_MAX)), 32)


def _set_period(pool: Subsystem, name: str, value: int) -> None:
    # The kernel compares it with an unsigned number of seconds: less than 0 is more than a hundred years.
    pool.vm.lowmem_period = value & _UINT_MAX


def _set_lowmem(pool: Subsystem, name: str, value: int) -> None:
    """Call the listeners of vm_lowmem; no cache is trimmed. See debug_vm_lowmem."""
    why = wrap(value, 32)
    if why & ~(VM_LOW_KMEM | VM_LOW_PAGES):
        raise Inval(f"{name}: give {VM_LOW_KMEM} (kernel memory is low), {VM_LOW_PAGES} (pages are), their sum, or 0")
    if why:
        pool.vm.lowmem.invoke(why)


def _divisor(pool: Subsystem) -> int:
    return 1 if pool.debug else 0


#: The largest unsigned int.
_UINT_MAX = (1 << 32) - 1

NODES: Mapping[str, Node] = MappingProxyType(
    {
        MAXMBUFMEM: Node(
            "Maximum real memory allocatable to various mbuf types", "int64_t", lambda pool: pool.limits.maxmbufmem
        ),
        "kern.ipc.max_linkhdr": Node(
            "Size of largest link layer header", "integer", lambda pool: pool.allocator.max_linkhdr
        ),
        "kern.ipc.max_protohdr": Node(
            "Size of largest protocol layer header", "integer", lambda pool: pool.allocator.max_protohdr
        ),
        "kern.ipc.max_hdr": Node(
            "Size of largest link plus protocol header",
            "integer",
            lambda pool: pool.allocator.max_linkhdr + pool.allocator.max_protohdr,
        ),
        "kern.ipc.max_datalen": Node(
            "Minimum space left in mbuf after max_hdr",
            "integer",
            lambda pool: MHLEN - pool.allocator.max_linkhdr - pool.allocator.max_protohdr,
        ),
        "kern.ipc.num_snd_tags": Node("# of active mbuf send tags", "uint64_t", _snd_tags, _reset_snd_tags),
        USE_EXT_PGS: Node("Use unmapped mbufs for sendfile(2) and TLS offload", "uint8_t", _ext_pgs, _set_ext_pgs),
        **{kind.sysctl: _limit(kind) for kind in KINDS},
        **VM_NODES,
        KMEM_SIZE: Node("Size of kernel memory", "unsigned long", lambda pool: pool.memory.kmem_size),
        KMEM_SIZE_MAX: Node("Maximum size of kernel memory", "unsigned long", lambda pool: pool.memory.kmem_size_max),
        "vm.lowmem_period": Node("Low memory callback period", "integer", _period, _set_period),
        "vm.debug.divisor": Node("Debug & thrash every this item in memory allocator", "unsigned integer", _divisor),
        # They count only where the divisor is 2 or more.
        "vm.debug.trashed": Node("memory items debugged", "uint64_t", lambda pool: 0),
        "vm.debug.skipped": Node("memory items skipped, not debugged", "uint64_t", lambda pool: 0),
        "debug.vm_lowmem": Node(
            "set to trigger vm_lowmem event with given flags", "integer", lambda pool: 0, _set_lowmem
        ),
        PHYSMEM: Node("Amount of physical memory (in bytes)", "unsigned long", lambda pool: pool.memory.physmem),
    }
)
