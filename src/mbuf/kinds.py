"""The zones that have a limit: one row for each, with all that differs from one to the other.

Everything that treats these zones alike (planning, boot, sysctls, snapshots, printers, `m.ext.type`) is a loop over
this table, so that a new size of cluster is a new row of `CLUSTERS`. The order of the rows is that of the kernel's
boot code.
"""

from types import MappingProxyType
from typing import NamedTuple

from mbuf.const import (
    EXT_CLUSTER,
    EXT_JUMBO9,
    EXT_JUMBO16,
    EXT_JUMBOP,
    MCLBYTES,
    MJUM9BYTES,
    MJUM16BYTES,
    MJUMPAGESIZE,
    MSIZE,
)


class Netstat(NamedTuple):
    """What `netstat -m` calls a zone."""

    #: Prefix of libxo's names of its numbers, as in `jumbo9-max`.
    items: str
    #: Prefix of libxo's names of its failed requests, as in `jumbo9-failures`.
    refusals: str
    #: Suffix of libxo's name of its limit. That of 16 KiB clusters differs from the others.
    limit: str = "max"
    #: The size in the text. A name in braces is libxo's name of a number.
    size: str = ""
    #: What follows the size in the text.
    note: str = ""


class Kind(NamedTuple):
    """A zone that has a limit."""

    #: Attribute of `Zones` and of `PoolStat`.
    attr: str
    #: The zone's name, as in `vmstat -z`.
    zone: str
    #: Bytes of an item.
    size: int
    #: The alignment of an item in bytes, less one.
    align: int
    #: The tunable and sysctl of the limit.
    sysctl: str
    #: The description of that sysctl.
    description: str
    #: The default limit is maxmbufmem / size / divisor.
    divisor: int
    #: `m.ext.type` of its items; 0 for mbufs.
    ext_type: int
    #: What `netstat -m` calls the zone.
    netstat: Netstat

    @property
    def limit(self) -> str:
        """Attribute of `Limits`: the last part of the sysctl's name, which is the kernel's variable."""
        return self.sysctl.rpartition(".")[2]


MBUF = Kind(
    "mbuf",
    "mbuf",
    MSIZE,
    MSIZE - 1,
    "kern.ipc.nmbufs",
    "Maximum number of mbufs allowed",
    5,
    0,
    Netstat("mbuf", "mbuf"),
)

#: The first kind is that of the packet zone's packets.
CLUSTERS = (
    Kind(
        "clust",
        "mbuf_cluster",
        MCLBYTES,
        7,
        "kern.ipc.nmbclusters",
        "Maximum number of mbuf clusters allowed",
        4,
        EXT_CLUSTER,
        Netstat("cluster", "cluster"),
    ),
    Kind(
        "jumbop",
        "mbuf_jumbo_page",
        MJUMPAGESIZE,
        7,
        "kern.ipc.nmbjumbop",
        "Maximum number of mbuf page size jumbo clusters allowed",
        4,
        EXT_JUMBOP,
        Netstat("jumbo", "jumbop", size="{jumbo-page-size}k", note=" (page size)"),
    ),
    Kind(
        "jumbo9",
        "mbuf_jumbo_9k",
        MJUM9BYTES,
        7,
        "kern.ipc.nmbjumbo9",
        "Maximum number of mbuf 9k jumbo clusters allowed",
        6,
        EXT_JUMBO9,
        Netstat("jumbo9", "jumbo9", size="9k"),
    ),
    Kind(
        "jumbo16",
        "mbuf_jumbo_16k",
        MJUM16BYTES,
        7,
        "kern.ipc.nmbjumbo16",
        "Maximum number of mbuf 16k jumbo clusters allowed",
        6,
        EXT_JUMBO16,
        Netstat("jumbo16", "jumbo16", limit="limit", size="16k"),
    ),
)

CLUSTER, JUMBOS = CLUSTERS[0], CLUSTERS[1:]

KINDS = (MBUF, *CLUSTERS)

#: Each kind of cluster by the bytes of a cluster.
OF_SIZE = MappingProxyType({kind.size: kind for kind in CLUSTERS})
