"""Prints a pool's statistics as OpenMetrics text, which Prometheus and others read.

Takes snapshots (`pool.stat()`, `port.stat()`) and returns text; needs no other library. For programs that already use
`prometheus_client`, and for tools that read only Prometheus's older format, see `prometheus`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from mbuf.pool.stat import PoolStat
from mbuf.stats.metrics import Family, families, sample_lines

if TYPE_CHECKING:
    from mbuf.net.port.port import PortStat

#: The Content-Type of a response with this text.
CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_NO_PORTS: Mapping[str, PortStat] = MappingProxyType({})


def text(stat: PoolStat | Mapping[str, PoolStat], ports: Mapping[str, PortStat] = _NO_PORTS) -> str:
    """Return all numbers of a pool, and of ports, as OpenMetrics text, which ends with the line `# EOF`.

    `stat` is a snapshot, from `pool.stat()`, or a mapping of names to snapshots of several pools: then each sample of a
    pool has the label `pool`. `ports` maps names to snapshots from `port.stat()`; a name becomes the label `port`. A
    program with metrics of its own writes them before this text. The HTTP header is `CONTENT_TYPE`.
    """
    return "".join(_lines(families(stat, ports))) + "# EOF\n"


def _lines(metrics: Iterator[Family]) -> Iterator[str]:
    for metric in metrics:
        yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.type}\n"
        if metric.unit:
            yield f"# UNIT {metric.name} {metric.unit}\n"
        yield from sample_lines(metric)
