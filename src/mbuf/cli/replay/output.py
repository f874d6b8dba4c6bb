"""What `mbuf replay` prints: the result as text, 80 columns wide, or as one JSON object.

The text has styles for a terminal; click.echo removes them elsewhere.
"""

import os
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from click import style

from mbuf.cli.format import percent, plural, printable, size
from mbuf.cli.replay.advice import Verdict
from mbuf.cli.replay.clock import SECOND
from mbuf.cli.replay.engine import Outcome, Settings
from mbuf.cli.replay.highwater import Moment
from mbuf.stats import netstat, vmstat
from mbuf.uma.stat import ZoneStat

WIDTH = 79
"""Columns of wrapped text: one less than a terminal has, because some wrap a line that fills it."""

_COLORS = {"enough": "green", "near": "yellow", "limit": "red", "memory": "red"}
_PEAKS = "{:<16} {:>10} {:>8} {:>6} {:>9} {:>6} {:>9} {:>9}"
_PEAKS_HEAD = ("ZONE", "LIMIT", "IN USE", "%", "CHARGED", "%", "PACKET", "SECONDS")


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """All that a replay reports: what was replayed, on which machine, and what happened."""

    captures: tuple[str, ...]
    loops: int
    physmem: int
    tunables: dict[str, int | str]
    settings: Settings
    outcome: Outcome
    verdict: Verdict
    #: The lines that the kernel would have logged, each after its capture time in nanoseconds.
    console: tuple[tuple[int, str], ...]
    #: A line for each error of a capture.
    errors: tuple[str, ...]
    #: True if there were errors, and no packet of any capture could be read: there is nothing to report.
    unreadable: bool
    interrupted: bool
    #: Mbufs that were not freed at the end: 0.
    leaked: int


def text(result: ReplayResult) -> str:
    """Return the result as text."""
    stat = result.outcome.stat
    parts = [
        ("replay", _summary(result)),
        ("netstat -m", netstat.text(stat)),
        ("vmstat -z", vmstat.text(stat)),
        ("peaks", _peaks(result)),
        ("console", "".join(f"[{when / SECOND:.6f}] {line}\n" for when, line in result.console)),
        ("verdict", _verdict(result)),
    ]
    return "\n".join(style(title, bold=True) + "\n" + body for title, body in parts if body)


def _summary(result: ReplayResult) -> str:
    """What was replayed, on which machine, and how it ended."""
    outcome, settings = result.outcome, result.settings
    speed = f", {settings.speed:g} times faster" if settings.speed != 1 else ""
    rows = {
        "captures": f"{_captures(result)}; {outcome.when / SECOND:.3f} s{speed}",
        "packets": f"{outcome.packets} ({size(outcome.bytes)}), {outcome.dropped} dropped",
        "rings": f"{settings.queues}, each of {plural(settings.descriptors, 'descriptor')}, "
        f"clusters of {outcome.cluster} bytes (MTU {settings.mtu})",
        "sockets": _sockets(settings),
        "machine": f"{plural(settings.ncpu, 'CPU')}, {size(result.physmem)} of memory",
        "tunables": " ".join(f"{name}={value}" for name, value in result.tunables.items()),
        "interrupted" if result.interrupted else "at the end": f"{outcome.slots - outcome.empty} of "
        f"{outcome.slots} descriptors with a cluster, {plural(outcome.held, 'packet')} in socket buffers; "
        f"then all freed, {plural(result.leaked, 'mbuf')} leaked",
    }
    return "".join(_entry(label, value) for label, value in rows.items() if value)


def _captures(result: ReplayResult) -> str:
    times = f", {result.loops} times" if result.loops > 1 else ""
    return ", ".join(printable(os.path.basename(path)) for path in result.captures) + times


def _sockets(settings: Settings) -> str:
    if settings.drain_rate is None:
        return f"each packet waits {settings.hold:g} s"
    return f"the application reads {settings.drain_rate:g} packets per second"


def _entry(label: str, value: str) -> str:
    indent = " " * 12
    return textwrap.fill(value, WIDTH, initial_indent=f"{label:<12}", subsequent_indent=indent) + "\n"


def _peaks(result: ReplayResult) -> str:
    """The table of peaks. The packet zone has no limit of its own: its items count against those of other zones."""
    rows = [_PEAKS.format(*_PEAKS_HEAD)]
    for peak in _peak_rows(result.outcome):
        limit = peak["limit"] or "-"
        at = (peak["packet"], f"{peak['seconds']:.3f}") if peak["in_use"] else ("-", "-")
        row = _PEAKS.format(
            peak["zone"],
            limit,
            peak["in_use"],
            _percent_text(peak["in_use_percent"]),
            peak["charged"],
            _percent_text(peak["charged_percent"]),
            *at,
        )
        rows.append(row if peak["charged"] else style(row, dim=True))
    return "\n".join(rows) + "\n"


def _percent_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _peak_rows(outcome: Outcome) -> Iterable[dict[str, Any]]:
    """The row of each zone; only the zones that the rings use have items in use."""
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
        "in_use_percent": percent(used, zone.limit) if zone.limit else None,
        "packet": at.packet if used else None,
        "seconds": at.when / SECOND if used else None,
        "charged": charged,
        "charged_percent": percent(charged, zone.limit) if zone.limit else None,
    }


def _verdict(result: ReplayResult) -> str:
    verdict = result.verdict
    text = textwrap.fill(verdict.text, WIDTH, break_on_hyphens=False)
    lines = "".join(f"    {style(str(change), bold=True)}\n" for change in verdict.changes)
    return style(text, fg=_COLORS[verdict.kind]) + "\n" + (f"\n{lines}" if lines else "")


def json(result: ReplayResult) -> dict[str, Any]:
    """Return the result as a JSON object; times are seconds of capture time."""
    outcome = result.outcome
    return {
        "captures": list(result.captures),
        "loops": result.loops,
        "physmem": result.physmem,
        "tunables": {name: str(value) for name, value in result.tunables.items()},
        "settings": asdict(result.settings),
        "interrupted": result.interrupted,
        "errors": list(result.errors),
        "packets": outcome.packets,
        "bytes": outcome.bytes,
        "seconds": outcome.when / SECOND,
        "dropped": outcome.dropped,
        "refills_denied": outcome.denials,
        "cluster": outcome.cluster,
        "descriptors": outcome.slots,
        "descriptors_empty": outcome.empty,
        "held": outcome.held,
        "out_afterwards": result.leaked,
        "peaks": list(_peak_rows(outcome)),
        "needed": {"mbufs": outcome.needed.count} | _moment(outcome.needed.at),
        "netstat": netstat.json(outcome.stat),
        "vmstat": vmstat.json(outcome.stat),
        "console": [{"seconds": when / SECOND, "text": line} for when, line in result.console],
        "verdict": _verdict_json(result),
    }


def _verdict_json(result: ReplayResult) -> dict[str, Any]:
    verdict, first_drop = result.verdict, result.outcome.first_drop
    return {
        "kind": verdict.kind,
        "text": verdict.text,
        "zone": verdict.zone or None,
        "first_denied": _moment(verdict.at) if verdict.at else None,
        "first_dropped": _moment(first_drop) if first_drop else None,
        "raise": [{"sysctl": change.sysctl, "from": change.now, "to": change.to} for change in verdict.changes],
    }


def _moment(at: Moment) -> dict[str, Any]:
    return {"packet": at.packet, "seconds": at.when / SECOND}
