"""The machine that a trace's program runs on: a pool, what the program holds of it, and how both look.

Looks only by the calls that any user has, and in the words of the trace: see section 4 of its format.
"""

from functools import partial
from typing import Any
from zlib import crc32

from mbuf import M_PKTHDR, PAGE_SIZE, Mbuf, Pool, Vm
from mbuf.packet.cluster import Cluster
from mbuf.pool.limits import KINDS

ZONES = ("mbuf", "clust", "pack", "jumbop", "jumbo9", "jumbo16")
DRAINS = ("drain0", "drain1", "drain2")

#: Fields of a packet header, by their names in traces; `len` and `rcvif` have rules of their own.
HEADER = {
    "flowid": "flowid",
    "csum": "csum_flags",
    "fib": "fibnum",
    "rss": "rsstype",
    "numa": "numa_domain",
    "ts": "rcv_tstmp",
    "per": "PH_per",
    "loc": "PH_loc",
}

#: Counters of what isn't built yet: no program that runs may change them.
UNBUILT = {
    **{f"dn.{zone}": -999 for zone in ("mbuf", "clust", "pack")},
    **dict.fromkeys(("dnq.mbuf", "dnq.clust", "tags", "pages", "sndtags", "ifref0", "ifref1"), 0),
}

#: What `boot` needn't say.
DEFAULTS = {"physmem": 262144, "kmem": 1 << 40, "tun": {}}


class Machine:
    """A pool, the chains `m` and clusters `c` that a program holds by number, and events `ev`."""

    def __init__(self, boot: dict[str, Any], caching: bool) -> None:
        boot = DEFAULTS | boot
        self.pool = Pool(
            Vm(realmem=min(boot["physmem"] * PAGE_SIZE, boot["kmem"])),
            tunables={name: str(value) for name, value in boot["tun"].items()},
            caching=caching,
            worker=False,
        )
        self.m: dict[int, Mbuf] = {}
        self.c: dict[int, Cluster] = {}
        self.ev: list[dict[str, Any]] = []
        self._drained = dict.fromkeys(DRAINS, 0)
        for drain in DRAINS:
            self.pool.drains.register(partial(self._drain, drain))

    def _drain(self, drain: str) -> None:
        self._drained[drain] += 1

    def at(self, op: dict[str, Any]) -> Mbuf:
        """The mbuf that an operation names: the k-th of chain m."""
        m = self.m[op["m"]]
        for _ in range(op.get("k", 0)):
            m = m.next
        return m

    def settle(self) -> None:
        """What the kernel does when an operation is over."""
        self.pool.reclaim.run()

    def descriptions(self) -> dict[int, list[dict[str, Any]]]:
        """Every chain; an identity is a number that no other object has at this moment."""
        return {handle: describe(self.m[handle]) for handle in sorted(self.m)}

    def counters(self) -> dict[str, int]:
        """Every counter of section 6."""
        pool = self.pool
        zones = {name: getattr(pool.zones, name) for name in ZONES}
        now = UNBUILT | self._drained
        now |= {f"cur.{name}": zone.used for name, zone in zones.items()}
        now |= {f"max.{name}": zone.limit for name, zone in zones.items()}
        now |= {kind.sysctl.rpartition(".")[2]: pool.sysctl[kind.sysctl] for kind in KINDS}
        now |= {f"eh.{name.rpartition('.')[2]}": event.count for name, event in pool.changes.items()}
        # A packet in a cache holds a cluster, which the cluster zone counts as used.
        now["cur.clust"] -= pool.zones.pack.cached
        return now

    def close(self) -> dict[str, int]:
        """Let go of everything; what is in use all the same, by zone, and how many mbufs were dropped."""
        for handle in list(self.m):
            self.m.pop(handle).freem()
        for handle in list(self.c):
            self.c.pop(handle).free()
        left = {name: getattr(self.pool.zones, name).used for name in ZONES}
        left["clust"] -= self.pool.zones.pack.cached
        left["dropped"] = self.pool.stat().drops
        self.pool.close()
        return left


def describe(m: Mbuf | None) -> list[dict[str, Any]]:
    """A chain in the words of section 4.1."""
    chain = []
    while m is not None:
        chain.append(_mbuf(m))
        m = m.next
    return chain


def _mbuf(m: Mbuf) -> dict[str, Any]:
    said: dict[str, Any] = {"id": id(m), "t": m.type, "f": m.flags, "l": m.len, "o": m.offset}
    if m.nextpkt is not None:
        said["np"] = id(m.nextpkt)
    ext = m.ext
    if ext is not None:
        said["x"] = {"ty": ext.type, "sz": ext.size, "rc": ext.count, "em": int(ext.embedded), "b": ext.id}
    if m.flags & M_PKTHDR:
        said["h"] = _header(m)
    data = bytes(m.data)
    if len(data) > 16:
        said["c"] = f"{crc32(data):08x}"
    elif data:
        said["d"] = data.hex()
    return said


def _header(m: Mbuf) -> dict[str, Any]:
    hdr = m.pkthdr
    said = {"len": hdr.len, **{name: getattr(hdr, field) for name, field in HEADER.items()}}
    said = {name: value for name, value in said.items() if value or name == "len"}
    if hdr.rcvif is not None:
        said["rcvif"] = hdr.rcvif
    return said


def pat(seed: int, count: int) -> bytes:
    """The byte pattern of section 2."""
    x = (seed * 2654435761 + 12345) & 0xFFFFFFFF
    data = bytearray()
    for _ in range(count):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        data.append(x >> 16 & 255)
    return bytes(data)
