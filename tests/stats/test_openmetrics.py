"""What the parsers of prometheus_client read of the text, in both formats."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mbuf import NoBufs, Pool
from mbuf.net.port.port import PortStat
from mbuf.pool.stat import PoolStat
from mbuf.stats import metrics, netstat, openmetrics, prometheus, vmstat
from mbuf.uma.stat import ZoneStat

openmetrics_parser = pytest.importorskip("prometheus_client.openmetrics.parser")
text_parser = pytest.importorskip("prometheus_client.parser")

Make = Callable[..., PoolStat]

#: Fields that are no metrics: names, what follows from others, and what only the printers of FreeBSD show.
NO_METRIC = {"zones", "name", "sysctl", "xdomain", "bucket_size", "pages", "warnings_suppressed"}


def read(format: str, *args: Any) -> dict[tuple[str, ...], float]:
    """The samples of the text, by name and values of labels. The parser checks the text."""
    families: Iterable[Any]
    if format == "openmetrics":
        families = list(openmetrics_parser.text_string_to_metric_families(openmetrics.text(*args)))
    else:
        families = list(text_parser.text_string_to_metric_families(prometheus.text(*args)))
    assert all(family.documentation for family in families)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


both = pytest.mark.parametrize("format", ["openmetrics", "prometheus"])


@both
def test_the_numbers_of_a_pool(format: str, make: Callable[..., Pool], few: Callable[..., dict[str, int]]) -> None:
    pool = make(few(clusters=3))
    held = pool.getcl_bulk(3)
    with pytest.raises(NoBufs):
        pool.getcl()
    stat = pool.stat()
    numbers = read(format, stat)
    assert numbers["mbuf_zone_used_items", "mbuf_packet"] == 3
    assert numbers["mbuf_zone_limit_items", "mbuf_cluster"] == 3
    assert ("mbuf_zone_limit_items", "mbuf_packet") not in numbers
    assert numbers["mbuf_zone_allocations_total", "mbuf_packet"] == stat.pack.allocs
    assert numbers["mbuf_zone_failures_total", "mbuf_cluster"] == stat.clust.fails > 0
    assert numbers["mbuf_zone_item_size_bytes", "mbuf_jumbo_9k"] == 9216
    assert numbers[("mbuf_pool_refusals_total",)] == 1
    assert numbers[("mbuf_pool_memory_used_bytes",)] == stat.pages_used * 4096
    assert numbers[("mbuf_pool_memory_limit_bytes",)] == 16 << 20
    pool.free_bulk(held)


@both
def test_several_pools_and_ports_have_labels(format: str, snapshot: Make) -> None:
    pools = {'a "b"\\\n': snapshot(clust={"used": 1}), "c": snapshot(clust={"used": 2})}
    numbers = read(format, pools, {"dns": PortStat(packets_in=5, bytes_in=500, errors=1)})
    assert numbers["mbuf_zone_used_items", "mbuf_cluster", 'a "b"\\\n'] == 1
    assert numbers["mbuf_zone_used_items", "mbuf_cluster", "c"] == 2
    assert numbers["mbuf_port_received_bytes_total", "dns"] == 500
    assert numbers["mbuf_port_unsent_packets_total", "dns"] == 1


def test_text_of_a_program_goes_before_that_of_a_pool(snapshot: Make) -> None:
    own = "# TYPE app_requests counter\napp_requests_total 3\n"
    families = openmetrics_parser.text_string_to_metric_families(own + openmetrics.text(snapshot()))
    assert next(iter(families)).samples[0].value == 3


def test_every_name_follows_the_rules_and_differs(snapshot: Make) -> None:
    families = list(metrics.families(snapshot(), {"": PortStat()}))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    for family in families:
        assert family.name.startswith("mbuf_")
        assert not family.name.endswith(("_total", "_count", "_sum", "_info", "_created", "_bucket"))
        assert family.help.endswith(".")
        assert family.unit == ("bytes" if "bytes" in family.name else "")


def test_every_number_of_a_snapshot_is_a_metric_or_left_out_on_purpose() -> None:
    numbers = {field.name for kind in (ZoneStat, PoolStat, PortStat) for field in fields(kind)}
    rows = (*metrics._ZONE, *metrics._POOL, *metrics._PORT)
    assert {row.field for row in rows} == numbers - NO_METRIC


def test_the_reference_lists_every_metric(snapshot: Make) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/statistics.md").read_text("utf-8")
    for family in metrics.families(snapshot(), {"": PortStat()}):
        name = family.name + ("_total" if family.type == "counter" else "")
        assert f"| `{name}` |" in page
        assert f"| {family.help.rstrip('.')} |" in page


def test_what_is_no_snapshot_is_refused(pool: Pool) -> None:
    bad: Any = pool
    said = r"stat.*: give a snapshot, pool.stat\(\), not a Pool"
    for call in (netstat.text, vmstat.text, lambda each: openmetrics.text({"rx": each})):
        with pytest.raises(TypeError, match=said):
            call(bad)
    with pytest.raises(TypeError, match=r"^stat: give pool.stat\(\), or a mapping of names to these, not Pool"):
        openmetrics.text(bad)
    with pytest.raises(TypeError, match=r"^ports: give a mapping of names to port.stat\(\), not int"):
        openmetrics.text(pool.stat(), 5)  # type: ignore[arg-type]
