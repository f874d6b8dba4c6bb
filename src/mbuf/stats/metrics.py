"""What a monitoring system reads of a pool and its ports: one table, which `openmetrics` and `prometheus` print.

Names follow the rules of Prometheus: a prefix (`mbuf`), what is counted, the unit in the plural, `_total` at the end of
a counter. A ratio is left to the reader: `mbuf_zone_used_items / mbuf_zone_limit_items`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mbuf.const import PAGE_SIZE
from mbuf.pool.stat import PoolStat, check_stat

if TYPE_CHECKING:
    from mbuf.net.port.port import PortStat


class Family(NamedTuple):
    """A metric: its samples, each with its labels."""

    #: The name, without the `_total` of a counter.
    name: str
    #: `counter` or `gauge`.
    type: str
    #: The unit, which is the end of the name: `bytes`, or "".
    unit: str
    #: What it counts, in one sentence.
    help: str
    #: Labels and value of each sample.
    samples: list[tuple[dict[str, str], int]]


class _Row(NamedTuple):
    """The field of a snapshot that a metric is made of."""

    field: str
    name: str
    type: str
    help: str


_G, _C = "gauge", "counter"

_ZONE = (
    _Row("size", "item_size_bytes", _G, "Bytes of one item of the zone."),
    _Row("limit", "limit_items", _G, "Most items, used and cached together; zones without a limit have no sample."),
    _Row("used", "used_items", _G, "Items that are handed out."),
    _Row("cached", "cached_items", _G, "Free items in caches, which count against the limit."),
    _Row("free", "free_items", _G, "Free items, in caches and in pages that the zone has."),
    _Row("held", "viewed_items", _G, "Freed items whose bytes still have views; they count as used."),
    _Row("sleepers", "waiters", _G, "Threads and tasks that wait at the limit now."),
    _Row("allocs", "allocations", _C, "Items that were allocated."),
    _Row("frees", "frees", _C, "Items that were freed."),
    _Row("fails", "failures", _C, "Tries to allocate an item that failed; one refused request may be several."),
    _Row("sleeps", "waits", _C, "Requests that waited at the limit."),
)
_POOL = (
    _Row("pages_used", "memory_used_bytes", _G, "Memory in use, from which all items and caches are made."),
    _Row("pages_total", "memory_limit_bytes", _G, "The budget of memory."),
    _Row("tag_bytes", "tag_bytes", _G, "Memory of packet tags."),
    _Row("refused", "refusals", _C, "Requests that were refused: a limit was reached, or there was no memory."),
    _Row("waiting", "waiters", _G, "Threads and tasks that wait for memory now."),
    _Row("waits", "waits", _C, "Requests that waited for memory."),
    _Row("drops", "dropped_mbufs", _C, "Mbufs that the program dropped without freeing them."),
    _Row("sfbufs_denied", "mapping_failures", _C, "Requests to map a page of a file that were refused."),
)
_PORT = (
    _Row("packets_in", "received_packets", _C, "Packets that were received."),
    _Row("bytes_in", "received_bytes", _C, "Bytes of the received packets."),
    _Row("packets_out", "sent_packets", _C, "Packets that were sent."),
    _Row("bytes_out", "sent_bytes", _C, "Bytes of the sent packets."),
    _Row("denied", "denied_packets", _C, "Received packets that were lost because the pool refused mbufs."),
    _Row("short", "short_receives", _C, "Times that fewer packets were received because the pool refused mbufs."),
    _Row("dropped", "dropped_packets", _C, "Packets that were lost because the queue of the socket was full."),
    _Row("dropped_messages", "dropped_messages", _C, "Messages of one or several packets that were lost so."),
    _Row("truncated", "truncated_packets", _C, "Received packets that were too long, and discarded."),
    _Row("discarded", "discarded_packets", _C, "Received packets that were freed when the port was closed."),
    _Row("errors", "unsent_packets", _C, "Packets that the system refused to send."),
    _Row("faults", "receive_errors", _C, "Errors that the system returned for a receive."),
    _Row("calls_in", "receive_calls", _C, "System calls to receive packets."),
    _Row("calls_out", "send_calls", _C, "System calls to send packets."),
)
#: The fields that count pages: what is shown is bytes.
_PAGES = ("pages_used", "pages_total")


def families(stat: PoolStat | Mapping[str, PoolStat], ports: Mapping[str, PortStat]) -> Iterator[Family]:
    """Each metric with all its samples.

    With several pools, by name, each sample of a pool has the name as its label `pool`.
    """
    pools = {"": stat} if isinstance(stat, PoolStat) else stat
    _check(pools, ports)
    zones = [({"zone": zone.name, **_named(name)}, zone) for name, each in pools.items() for zone in each.zones]
    for row in _ZONE:
        yield _family("zone", row, zones)
    for row in _POOL:
        yield _family("pool", row, [(_named(name), each) for name, each in pools.items()])
    for row in _PORT if ports else ():
        yield _family("port", row, [({"port": name}, each) for name, each in ports.items()])


def _check(pools: Any, ports: Any) -> None:
    """Raise TypeError for what is no mapping of snapshots."""
    if not isinstance(pools, Mapping):
        raise TypeError(f"stat: give pool.stat(), or a mapping of names to these, not {type(pools).__name__}")
    for name, stat in pools.items():
        check_stat(stat, f"stat: {name!r}")
    if not isinstance(ports, Mapping):
        raise TypeError(f"ports: give a mapping of names to port.stat(), not {type(ports).__name__}")


def _named(pool: str) -> dict[str, str]:
    return {"pool": pool} if pool else {}


def _family(of: str, row: _Row, things: Sequence[tuple[dict[str, str], object]]) -> Family:
    samples = []
    for labels, thing in things:
        value = getattr(thing, row.field)
        if row.field != "limit" or value:
            samples.append((labels, value * PAGE_SIZE if row.field in _PAGES else value))
    unit = "bytes" if row.name.endswith("_bytes") else ""
    return Family(f"mbuf_{of}_{row.name}", row.type, unit, row.help, samples)


def sample_lines(metric: Family) -> Iterator[str]:
    """The lines of a metric's samples, which are the same in both formats."""
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    for labels, value in metric.samples:
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{pairs}}} {value}\n" if pairs else f"{name} {value}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
