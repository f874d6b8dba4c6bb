"""What a replay says to whoever sizes a machine: which limit was reached, and what to raise to what.

Arithmetic on an outcome, and the sentences for it. Sees no pool and no zone.
"""

from dataclasses import dataclass

from mbuf.cli.format import count, moment, share, size
from mbuf.cli.replay.engine import Denial, Outcome
from mbuf.cli.replay.highwater import Moment
from mbuf.const import MSIZE, PAGE_SIZE
from mbuf.errors import NoBufs
from mbuf.kinds import CLUSTERS, MBUF
from mbuf.pool.limits import least_mbufs
from mbuf.uma.stat import ZoneStat

HEADROOM = 4
"""A quarter on top of what was needed: a capture shows one day, not the worst."""

ROUND = 1024
"""Limits are rounded up to a multiple of this, as people write them."""

NEAR = 80.0
"""Per cent of a limit from which on it is near."""


@dataclass(frozen=True, slots=True)
class Raise:
    """A sysctl, its value, and a number that would have been enough."""

    sysctl: str
    now: int
    to: int

    def __str__(self) -> str:
        return f"sysctl {self.sysctl}={self.to}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One of `enough`, `near`, `limit`, `memory`; `raises` in the order in which sysctl accepts them."""

    kind: str
    text: str
    #: The zone spoken of, empty if there is none.
    zone: str
    #: The moment of the first denial.
    at: Moment | None
    raises: tuple[Raise, ...]


def judge(outcome: Outcome, ncpu: int) -> Verdict:
    """The verdict on a replay on a machine with so many CPUs."""
    first = outcome.first_denial
    if first is None:
        return _enough(outcome, ncpu)
    if isinstance(first.error, NoBufs):
        return _limit(outcome, ncpu, first, first.error)
    return _memory(outcome, first)


def _enough(outcome: Outcome, ncpu: int) -> Verdict:
    """No request was denied: how near the nearest limit was."""
    shares = [(_share(outcome, stat, ncpu), stat) for stat in outcome.stat.zones if stat.limit]
    if not shares:
        return Verdict("enough", "No limit was reached: there is none.", "", None, ())
    percent, stat = max(shares, key=lambda pair: pair[0])
    used, charged = outcome.used_of(stat), outcome.charged[stat.name]
    caches = (
        f"with what the CPU cached, all of which it can use itself, {charged} were charged"
        if ncpu == 1
        else f"with what CPUs cached, which others can't have, {charged} ({percent:.1f} %) were charged"
    )
    text = (
        f"No limit was reached. The nearest is {stat.sysctl}: of its {stat.limit}, at most {used} "
        f"({share(used, stat.limit):.1f} %) were in use; {caches}."
    )
    kind = "near" if percent >= NEAR else "enough"
    if kind == "near":
        text += " That is near: the next burst may reach it."
    return Verdict(kind, text + _too_long(outcome), stat.name, None, ())


def _share(outcome: Outcome, stat: ZoneStat, ncpu: int) -> float:
    """Per cent of a limit that is out of reach: all that is charged, but for what a sole CPU caches."""
    return share(outcome.used_of(stat) if ncpu == 1 else outcome.charged[stat.name], stat.limit)


def _too_long(outcome: Outcome) -> str:
    """Drops that no limit is to blame for."""
    if not outcome.dropped:
        return ""
    dropped = count(outcome.dropped, "packet")
    return f" Yet {dropped} dropped: longer than all clusters of a ring, so a ring needs more descriptors."


def _limit(outcome: Outcome, ncpu: int, first: Denial, error: NoBufs) -> Verdict:
    """A zone was at its limit."""
    stat = next(stat for stat in outcome.stat.zones if stat.name == error.zone)
    # Two buckets for each CPU, in this zone and in the one that draws from it.
    caches = 4 * ncpu * max(stat.bucket_size for stat in outcome.stat.zones)
    needed = outcome.needed.count + caches
    raises = _raises(outcome, stat, -(-(needed + needed // HEADROOM) // ROUND) * ROUND)
    text = (
        f"{stat.sysctl} was reached first, {moment(first.at)}: of its {error.limit}, {first.used} were in "
        f"use and {max(error.limit - first.used, 0)} in caches. {_losses(outcome)} "
        f"Raise it to {raises[-1].to}: {_why(outcome, caches)}.{_mbufs_first(raises)}"
        f"{_too_much(outcome, stat, raises[-1].to)}"
    )
    return Verdict("limit", text, stat.name, first.at, raises)


def _why(outcome: Outcome, caches: int) -> str:
    """Where the number comes from."""
    waiting = outcome.needed.count - outcome.slots
    return (
        f"{outcome.slots} for the rings, {waiting} for the fullest socket buffers had nothing been dropped, "
        f"{caches} that the caches of the CPUs may keep, and a quarter on top"
    )


def _losses(outcome: Outcome) -> str:
    """What the denials led to."""
    if not outcome.packets:
        armed = outcome.slots - outcome.short
        return f"Only {armed} of {outcome.slots} descriptors could be armed, so no packet was received."
    denied = f"{count(outcome.denials, 'request')} for a refill denied"
    if outcome.first_drop is None:
        return f"{denied}, but no ring ran dry: no packet was dropped."
    percent = share(outcome.dropped, outcome.packets)
    return (
        f"{denied}, {outcome.dropped} of {count(outcome.packets, 'packet')} ({percent:.1f} %) dropped, "
        f"from packet {outcome.first_drop.packet} on."
    )


def _raises(outcome: Outcome, stat: ZoneStat, to: int) -> tuple[Raise, ...]:
    """The limit to raise, after the limit of mbufs where clusters would outnumber them."""
    wanted = Raise(stat.sysctl, stat.limit, max(to, stat.limit + 1))
    mbufs = outcome.stat.mbuf
    if stat.sysctl == MBUF.sysctl or not mbufs.limit:
        return (wanted,)
    limits = {kind.sysctl: getattr(outcome.stat, kind.attr).limit for kind in CLUSTERS} | {stat.sysctl: wanted.to}
    least = least_mbufs(limits.values())
    if mbufs.limit >= least:
        return (wanted,)
    return (Raise(mbufs.sysctl, mbufs.limit, -(-least // ROUND) * ROUND), wanted)


def _mbufs_first(raises: tuple[Raise, ...]) -> str:
    """The rule that there are mbufs for all clusters, where it matters."""
    if len(raises) == 1:
        return ""
    return (
        f" But first raise {raises[0].sysctl} from {raises[0].now} to {raises[0].to}: all clusters need "
        f"mbufs, and while the limits of clusters add up to more, sysctl refuses to raise any of them."
    )


def _too_much(outcome: Outcome, stat: ZoneStat, to: int) -> str:
    """A warning where the memory that mbufs may take at all couldn't hold so many. See tunable_mbinit."""
    wanted = to * (stat.size if stat.size == MSIZE else stat.size + MSIZE)
    memory = outcome.stat.pages_total * PAGE_SIZE
    if wanted <= memory // 4 * 3:
        return ""
    return f" So many take {size(wanted)}, too much for the machine's {size(memory)}: it needs more memory."


def _memory(outcome: Outcome, first: Denial) -> Verdict:
    """The pages ran out before any limit was reached."""
    needed = size(outcome.needed.count * (outcome.cluster + MSIZE))
    has = size(outcome.stat.pages_total * PAGE_SIZE)
    text = (
        f"Memory ran out {moment(first.at)}, before any limit was reached. {_losses(outcome)} "
        f"No sysctl helps: at the worst, {outcome.needed.count} mbufs with clusters were needed at once, "
        f"{needed} of memory, and the machine has {has} in all."
    )
    return Verdict("memory", text, "", first.at, ())
