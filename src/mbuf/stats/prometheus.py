"""A pool's statistics for Prometheus: a collector for `prometheus_client`, and the text format without it.

`text` is the text format 0.0.4, which a node exporter reads from files (`--collector.textfile.directory`); Prometheus
itself also reads `openmetrics`. `PoolCollector` needs the package `prometheus_client` (`pip install mbuf[prometheus]`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from mbuf.pool.stat import PoolStat
from mbuf.stats.metrics import Family, families, sample_lines

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from mbuf.net.port.port import PortStat

    class _Pool(Protocol):
        def stat(self) -> PoolStat: ...

    class _Port(Protocol):
        def stat(self) -> PortStat: ...


#: The Content-Type of a response with this text.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NO_PORTS: Mapping[str, Any] = MappingProxyType({})


def text(stat: PoolStat | Mapping[str, PoolStat], ports: Mapping[str, PortStat] = _NO_PORTS) -> str:
    """Return all numbers of a pool, and of ports, in the text format 0.0.4.

    The arguments are those of `mbuf.stats.openmetrics.text`. The HTTP header is `CONTENT_TYPE`. A file for a node
    exporter must be complete when it appears: write another file, then rename it.
    """
    return "".join(_lines(families(stat, ports)))


def _lines(metrics: Iterator[Family]) -> Iterator[str]:
    for metric in metrics:
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        yield f"# HELP {name} {metric.help}\n# TYPE {name} {metric.type}\n"
        yield from sample_lines(metric)


class PoolCollector:
    """A collector to register with `prometheus_client`: `REGISTRY.register(PoolCollector(pool))`.

    `pools` is a pool, or a mapping of names to pools, each of which has its name as the label `pool`. `ports` maps
    names to ports; a name is the label `port`. A mapping may change while the collector is registered. Numbers are read
    when they are collected, so that allocating costs nothing more. A registry takes one such collector; to watch
    several pools, give it all of them.
    """

    __slots__ = ("_pools", "_ports")

    def __init__(self, pools: _Pool | Mapping[str, _Pool], ports: Mapping[str, _Port] = _NO_PORTS) -> None:
        try:
            import prometheus_client  # noqa: F401 (to say what is missing now, not when metrics are collected)
        except ImportError as error:
            raise ImportError("PoolCollector needs prometheus_client: pip install 'mbuf[prometheus]'") from error
        if not isinstance(ports, Mapping):
            raise TypeError(f'PoolCollector: ports: give a mapping, such as {{"dns": port}}, not {ports!r}')
        named: Mapping[str, object] = pools if isinstance(pools, Mapping) else {"pool": pools}
        for name, thing in (*named.items(), *ports.items()):
            if not callable(getattr(thing, "stat", None)):
                raise TypeError(f"PoolCollector: {name!r} must have a method stat, as a pool or a port has: {thing!r}")
        self._pools = pools
        self._ports = ports

    def describe(self) -> list[Metric]:
        """Return the metrics without their samples. So a registry refuses a second collector with the same names."""
        return [_metric(family._replace(samples=[])) for family in self._families()]

    def collect(self) -> Iterator[Metric]:
        """Read the numbers of all pools and ports, and return the metrics."""
        return map(_metric, self._families())

    def _families(self) -> Iterator[Family]:
        pools: Any = self._pools
        # Copies: another thread may change a mapping meanwhile.
        stat = {name: pool.stat() for name, pool in dict(pools).items()} if isinstance(pools, Mapping) else pools.stat()
        return families(stat, {name: port.stat() for name, port in dict(self._ports).items()})


def _metric(family: Family) -> Metric:
    from prometheus_client.metrics_core import Metric

    metric = Metric(family.name, family.help, family.type, family.unit)
    suffix = "_total" if family.type == "counter" else ""
    for labels, value in family.samples:
        metric.add_sample(family.name + suffix, labels, value)
    return metric
