"""What `mbuf replay` prints: the same numbers as text, 80 columns wide, and as one JSON object.

Sees numbers and returns text; styles are for terminals, and whoever prints elsewhere takes them out.
"""

import os
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from click import style

from mbuf.cli.format import count, plain, seconds, share, size
from mbuf.cli.replay.advice import Verdict
from mbuf.cli.replay.clock import SECOND
from mbuf.cli.replay.engine import Outcome, Settings
from mbuf.cli.replay.highwater import Moment
from mbuf.stats import netstat, vmstat
from mbuf.uma.stat import ZoneStat

WIDTH = 79
"""Of wrapped sentences: one column is left, so that no terminal of 80 wraps them again."""

_COLORS = {"enough": "green", "near": "yellow", "limit": "red", "memory": "red"}
_PEAKS = "{:<16} {:>10} {:>8} {:>6} {:>9} {:>6} {:>9} {:>9}"
_PEAKS_HEAD = ("ZONE", "LIMIT", "IN USE", "%", "CHARGED", "%", "PACKET", "SECONDS")


@dataclass(frozen=True, slots=True)
class Run:
    """All that there is to tell of a replay."""

    captures: tuple[str, ...]
    loops: int
    physmem: int
    tunables: dict[str, int | str]
    settings: Settings
    outcome: Outcome
    verdict: Verdict
    #: What the kernel would have logged, and at which nanosecond of capture time.
    console: tuple[tuple[int, str], ...]
    #: What was wrong with captures.
    errors: tuple[str, ...]
    interrupted: bool
    #: Mbufs not given back in the end: none.
    out: int


def text(run: Run) -> str:
    """The report for people."""
    stat = run.outcome.stat
    parts = [
        ("replay", _replay(run)),
        ("netstat -m", netstat.text(stat)),
        ("vmstat -z", vmstat.text(stat)),
        ("peaks", _peaks(run)),
        ("console", "".join(f"[{when / SECOND:.6f}] {line}\n" for when, line in run.console)),
        ("verdict", _verdict(run)),
    ]
    return "\n".join(style(title, bold=True) + "\n" + body for title, body in parts if body)


def _replay(run: Run) -> str:
    """What was played on which machine, and how it ended."""
    outcome, settings = run.outcome, run.settings
    speed = f", {settings.speed:g} times as fast" if settings.speed != 1 else ""
    rows = {
        "captures": f"{_played(run)}; {seconds(outcome.when)}{speed}",
        "packets": f"{outcome.packets} of {size(outcome.bytes)}, {outcome.dropped} dropped",
        "rings": f"{settings.queues}, each of {count(settings.descriptors, 'descriptor')}, "
        f"clusters of {outcome.cluster} bytes (MTU {settings.mtu})",
        "sockets": _read(settings),
        "machine": f"{count(settings.ncpu, 'CPU')}, {size(run.physmem)} of memory",
        "tunables": " ".join(f"{name}={value}" for name, value in run.tunables.items()),
        "interrupted" if run.interrupted else "at the end": f"{outcome.slots - outcome.short} of "
        f"{outcome.slots} descriptors armed, {count(outcome.held, 'packet')} in socket buffers; "
        f"then all given back, {count(run.out, 'mbuf')} left out",
    }
    return "".join(_entry(label, value) for label, value in rows.items() if value)


def _played(run: Run) -> str:
    times = f", {run.loops} times" if run.loops > 1 else ""
    return ", ".join(plain(os.path.basename(path)) for path in run.captures) + times


def _read(settings: Settings) -> str:
    if settings.drain_rate is None:
        return f"each packet waits {settings.hold:g} s"
    return f"{settings.drain_rate:g} packets are read in a second"


def _entry(label: str, value: str) -> str:
    indent = " " * 12
    return textwrap.fill(value, WIDTH, initial_indent=f"{label:<12}", subsequent_indent=indent) + "\n"


def _peaks(run: Run) -> str:
    """The high-water marks. The packet zone has no limit of its own: it uses that of clusters."""
    rows = [_PEAKS.format(*_PEAKS_HEAD)]
    for peak in _peak_rows(run.outcome):
        limit = peak["limit"] or "-"
        at = (peak["packet"], f"{peak['seconds']:.3f}") if peak["in_use"] else ("-", "-")
        row = _PEAKS.format(
            peak["zone"],
            limit,
            peak["in_use"],
            _percent(peak["in_use_percent"]),
            peak["charged"],
            _percent(peak["charged_percent"]),
            *at,
        )
        rows.append(row if peak["charged"] else style(row, dim=True))
    return "\n".join(rows) + "\n"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _peak_rows(outcome: Outcome) -> Iterable[dict[str, Any]]:
    """A row for each zone; in use are those of the rings' kind of mbuf and cluster."""
    return (_peak_row(zone, outcome) for zone in outcome.stat.zones)


def _peak_row(zone: ZoneStat, outcome: Outcome) -> dict[str, Any]:
    used = outcome.used_of(zone)
    charged = outcome.charged[zone.name]
    at = outcome.used.at
    return {
        "zone": zone.name,
        "sysctl": zone.sysctl,
        "limit": zone.limit,
        "in_use": used,
        "in_use_percent": share(used, zone.limit) if zone.limit else None,
        "packet": at.packet if used else None,
        "seconds": at.when / SECOND if used else None,
        "charged": charged,
        "charged_percent": share(charged, zone.limit) if zone.limit else None,
    }


def _verdict(run: Run) -> str:
    verdict = run.verdict
    words = textwrap.fill(verdict.text, WIDTH, break_on_hyphens=False)
    lines = "".join(f"    {style(str(step), bold=True)}\n" for step in verdict.raises)
    return style(words, fg=_COLORS[verdict.kind]) + "\n" + (f"\n{lines}" if lines else "")


def json(run: Run) -> dict[str, Any]:
    """The same for programs; times are seconds of capture time."""
    outcome = run.outcome
    return {
        "captures": list(run.captures),
        "loops": run.loops,
        "physmem": run.physmem,
        "tunables": {name: str(value) for name, value in run.tunables.items()},
        "settings": asdict(run.settings),
        "interrupted": run.interrupted,
        "errors": list(run.errors),
        "packets": outcome.packets,
        "bytes": outcome.bytes,
        "seconds": outcome.when / SECOND,
        "dropped": outcome.dropped,
        "refills_denied": outcome.denials,
        "cluster": outcome.cluster,
        "descriptors": outcome.slots,
        "descriptors_empty": outcome.short,
        "held": outcome.held,
        "out_afterwards": run.out,
        "peaks": list(_peak_rows(outcome)),
        "needed": {"mbufs": outcome.needed.count} | _moment(outcome.needed.at),
        "netstat": netstat.json(outcome.stat),
        "vmstat": vmstat.json(outcome.stat),
        "console": [{"seconds": when / SECOND, "text": line} for when, line in run.console],
        "verdict": _verdict_json(run),
    }


def _verdict_json(run: Run) -> dict[str, Any]:
    verdict, first_drop = run.verdict, run.outcome.first_drop
    return {
        "kind": verdict.kind,
        "text": verdict.text,
        "zone": verdict.zone or None,
        "first_denied": _moment(verdict.at) if verdict.at else None,
        "first_dropped": _moment(first_drop) if first_drop else None,
        "raise": [{"sysctl": step.sysctl, "from": step.now, "to": step.to} for step in verdict.raises],
    }


def _moment(at: Moment) -> dict[str, Any]:
    return {"packet": at.packet, "seconds": at.when / SECOND}
