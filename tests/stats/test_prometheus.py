import sys
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import Pool
from mbuf.net.port.port import PortStat
from mbuf.stats.prometheus import CONTENT_TYPE, PoolCollector

prometheus_client = pytest.importorskip("prometheus_client")


class Port:
    """A port with these counters."""

    def __init__(self, **counters: int) -> None:
        self.counters = counters

    def stat(self) -> PortStat:
        return PortStat(**self.counters)


@pytest.fixture
def registry() -> Any:
    return prometheus_client.CollectorRegistry(auto_describe=True)


def test_numbers_are_read_when_they_are_collected(pool: Pool, registry: Any) -> None:
    registry.register(PoolCollector(pool))
    m = pool.getcl()
    assert registry.get_sample_value("mbuf_zone_used_items", {"zone": "mbuf_packet"}) == 1
    m.freem()
    assert registry.get_sample_value("mbuf_zone_used_items", {"zone": "mbuf_packet"}) == 0
    assert registry.get_sample_value("mbuf_zone_allocations_total", {"zone": "mbuf_packet"}) == 1


def test_pools_and_ports_that_are_added_later_are_collected(make: Callable[..., Pool], registry: Any) -> None:
    pools, ports = {"rx": make()}, {"dns": Port(packets_in=3)}
    registry.register(PoolCollector(pools, ports))
    pools["tx"], ports["ntp"] = make(), Port(dropped=2)
    labels = {"pool": "tx"}
    assert registry.get_sample_value("mbuf_pool_memory_limit_bytes", labels) == 16 << 20
    assert registry.get_sample_value("mbuf_port_received_packets_total", {"port": "dns"}) == 3
    assert registry.get_sample_value("mbuf_port_dropped_packets_total", {"port": "ntp"}) == 2


@pytest.mark.parametrize("module", ["exposition", "openmetrics.exposition"])
def test_the_library_writes_what_its_parser_reads(pool: Pool, registry: Any, module: str) -> None:
    exposition = pytest.importorskip(f"prometheus_client.{module}")
    parser = pytest.importorskip(f"prometheus_client.{module.replace('exposition', 'parser')}")
    registry.register(PoolCollector(pool, {"dns": Port(bytes_in=9)}))
    text = exposition.generate_latest(registry).decode()
    samples = [s for family in parser.text_string_to_metric_families(text) for s in family.samples]
    assert [s.value for s in samples if s.name == "mbuf_port_received_bytes_total"] == [9]


def test_a_registry_takes_one_collector(pool: Pool, registry: Any) -> None:
    registry.register(PoolCollector(pool))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(PoolCollector(pool))


def test_without_the_library_the_error_says_what_to_install(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r"pip install 'mbuf\[prometheus\]'"):
        PoolCollector(pool)


def test_what_has_no_statistics_is_refused(pool: Pool) -> None:
    with pytest.raises(TypeError, match="'dns' must have a method stat"):
        PoolCollector(pool, {"dns": 53})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="'pool' must have a method stat"):
        PoolCollector(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ports: give a mapping, such as .*, not 53"):
        PoolCollector(pool, 53)  # type: ignore[arg-type]


def test_the_content_type_is_that_of_the_library() -> None:
    assert CONTENT_TYPE.partition(";")[0] == prometheus_client.CONTENT_TYPE_LATEST.partition(";")[0]
