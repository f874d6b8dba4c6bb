"""The verdict on a replay: which limit was reached, and how far to raise it.

It is calculated from the counts of the replay alone. The first rule that applies decides:

1. No request was denied: `enough`, and nothing to raise. The verdict names the limit that was nearest. What counts
   against a limit is charged to it, in use or cached. With several CPUs, all of this is compared with the limit; with
   one CPU, only what is in use, because that CPU can use all that it caches. From 80 % of the limit on, it is `near`.

2. The first request that was denied found a zone at its limit (NoBufs): `limit`. Raise it to the sum of

       the slots of all rings, and the most mbufs that would have waited in socket buffers without drops
     + what the caches of the CPUs may hold: for each CPU two buckets, one to allocate from and one to free to, in the
       zone itself and in the zone that takes items from it (packet from mbuf_cluster)
     + a quarter of that sum as headroom, because a capture rarely shows the highest load

   rounded up to a multiple of 1024. FreeBSD refuses a limit of clusters that makes clusters outnumber mbufs, so
   kern.ipc.nmbufs is raised first where it is needed. If so many mbufs and clusters need more than three quarters of
   the memory, which is the most that FreeBSD lets mbufs use (tunable_mbinit), the machine needs more memory.

3. It found no page (NoMemory): `memory`. No limit was reached, so no sysctl helps.
"""

from dataclasses import dataclass

from mbuf.cli.format import percent, plural, size
from mbuf.cli.replay.engine import Denial, Outcome
from mbuf.cli.replay.highwater import Moment
from mbuf.const import MSIZE, PAGE_SIZE
from mbuf.errors import NoBufs
from mbuf.kinds import CLUSTERS, MBUF
from mbuf.pool.limits import least_mbufs
from mbuf.uma.stat import ZoneStat

HEADROOM = 4
"""The headroom is one part in so many."""

ROUND = 1024
"""Limits are rounded up to a multiple of this, as people write them."""

NEAR = 80.0
"""From this per cent of a limit on, the verdict is `near`."""


@dataclass(frozen=True, slots=True)
class SysctlChange:
    """A limit to raise: its sysctl, the value now, and the value that is enough."""

    sysctl: str
    now: int
    to: int

    def __str__(self) -> str:
        return f"sysctl {self.sysctl}={self.to}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict, and its parts for programs."""

    #: `enough`, `near`, `limit` or `memory`.
    kind: str
    text: str
    #: The zone that was nearest to its limit, or at it; empty if there is none.
    zone: str
    #: When the first request was denied.
    at: Moment | None
    #: In the order in which sysctl accepts them.
    changes: tuple[SysctlChange, ...]


def verdict_of(outcome: Outcome, ncpu: int) -> Verdict:
    """Return the verdict on a replay on a machine with so many CPUs."""
    first = outcome.first_denial
    if first is None:
        return _enough(outcome, ncpu)
    if isinstance(first.error, NoBufs):
        return _limit(outcome, ncpu, first, first.error)
    return _memory(outcome, first)


def _enough(outcome: Outcome, ncpu: int) -> Verdict:
    """The verdict if no request was denied."""
    loads = [(_load(outcome, stat, ncpu), stat) for stat in outcome.stat.zones if stat.limit]
    if not loads:
        return Verdict("enough", "No limit was reached: this machine has none.", "", None, ())
    load, stat = max(loads, key=lambda pair: pair[0])
    used, charged = outcome.used_of(stat), outcome.charged[stat.name]
    caches = (
        f"With the cache of the CPU, {charged} were charged, and the CPU can use all of them"
        if ncpu == 1
        else f"With the caches of all CPUs, {charged} ({load:.1f} %) were charged"
    )
    text = (
        f"No limit was reached. The nearest is {stat.sysctl}: at most {used} of {stat.limit} "
        f"({percent(used, stat.limit):.1f} %) were in use. {caches}."
    )
    kind = "near" if load >= NEAR else "enough"
    if kind == "near":
        text += " This is near the limit: the next burst may reach it."
    return Verdict(kind, text + _too_long(outcome), stat.name, None, ())


def _load(outcome: Outcome, stat: ZoneStat, ncpu: int) -> float:
    """How many per cent of a limit can't be used by a CPU that needs more (rule 1)."""
    return percent(outcome.used_of(stat) if ncpu == 1 else outcome.charged[stat.name], stat.limit)


def _too_long(outcome: Outcome) -> str:
    """Drops for which no limit is the reason."""
    if not outcome.dropped:
        return ""
    return (
        f" But some packets ({outcome.dropped}) were dropped: they are longer than all clusters of a ring together, "
        f"so the rings need more descriptors."
    )


def _limit(outcome: Outcome, ncpu: int, first: Denial, error: NoBufs) -> Verdict:
    """The verdict if a zone was at its limit."""
    stat = next(stat for stat in outcome.stat.zones if stat.name == error.zone)
    caches = 4 * ncpu * max(stat.bucket_size for stat in outcome.stat.zones)
    needed = outcome.needed.count + caches
    changes = _changes(outcome, stat, -(-(needed + needed // HEADROOM) // ROUND) * ROUND)
    text = (
        f"{stat.sysctl} was reached first, {first.at}: {first.used} of {error.limit} were in use and "
        f"{max(error.limit - first.used, 0)} in caches. {_losses(outcome)} "
        f"Raise it to {changes[-1].to}: {_sum(outcome, caches)}.{_mbufs_first(changes)}"
        f"{_too_much(outcome, stat, changes[-1].to)}"
    )
    return Verdict("limit", text, stat.name, first.at, changes)


def _sum(outcome: Outcome, caches: int) -> str:
    """The parts of the sum in rule 2."""
    waiting = outcome.needed.count - outcome.slots
    return (
        f"{outcome.slots} for the rings, up to {waiting} for packets in socket buffers if none is dropped, "
        f"{caches} for the caches of the CPUs, and a quarter of the sum as headroom"
    )


def _losses(outcome: Outcome) -> str:
    """What followed from the denials."""
    if not outcome.packets:
        filled = outcome.slots - outcome.empty
        return f"Only {filled} of {outcome.slots} descriptors got a cluster, so no packet was received."
    denied = f"The allocator denied {plural(outcome.denials, 'request')}"
    if outcome.first_drop is None:
        return f"{denied}, but no packet was dropped."
    share = percent(outcome.dropped, outcome.packets)
    return (
        f"{denied}, and {outcome.dropped} of {plural(outcome.packets, 'packet')} ({share:.1f} %) were dropped, "
        f"from packet {outcome.first_drop.packet} on."
    )


def _changes(outcome: Outcome, stat: ZoneStat, to: int) -> tuple[SysctlChange, ...]:
    """The limit to raise, after the limit of mbufs if clusters would outnumber them."""
    wanted = SysctlChange(stat.sysctl, stat.limit, max(to, stat.limit + 1))
    mbufs = outcome.stat.mbuf
    if stat.sysctl == MBUF.sysctl or not mbufs.limit:
        return (wanted,)
    limits = {kind.sysctl: getattr(outcome.stat, kind.attr).limit for kind in CLUSTERS} | {stat.sysctl: wanted.to}
    least = least_mbufs(limits.values())
    if mbufs.limit >= least:
        return (wanted,)
    return (SysctlChange(mbufs.sysctl, mbufs.limit, -(-least // ROUND) * ROUND), wanted)


def _mbufs_first(changes: tuple[SysctlChange, ...]) -> str:
    """Why there is a change of another limit."""
    if len(changes) == 1:
        return ""
    first = changes[0]
    return (
        f" But first raise {first.sysctl} from {first.now} to {first.to}: each cluster needs an mbuf, so sysctl "
        f"refuses to raise a limit of clusters if there would be more clusters than mbufs."
    )


def _too_much(outcome: Outcome, stat: ZoneStat, to: int) -> str:
    """A warning if the memory is too small for the new limit."""
    wanted = to * (stat.size if stat.size == MSIZE else stat.size + MSIZE)
    memory = outcome.stat.pages_total * PAGE_SIZE
    if wanted <= memory // 4 * 3:
        return ""
    return f" So many need {size(wanted)}, too much for a machine with {size(memory)}: it needs more memory."


def _memory(outcome: Outcome, first: Denial) -> Verdict:
    """The verdict if there was no memory left."""
    needed = size(outcome.needed.count * (outcome.cluster + MSIZE))
    memory = size(outcome.stat.pages_total * PAGE_SIZE)
    text = (
        f"Memory ran out {first.at}, before any limit was reached. {_losses(outcome)} "
        f"No sysctl helps: up to {outcome.needed.count} mbufs with clusters were needed at a time, {needed} of "
        f"memory, and the machine has {memory} in all."
    )
    return Verdict("memory", text, "", first.at, ())
