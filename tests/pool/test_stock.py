"""The queues of the reserve, and the packets made of their items."""

import pytest

from mbuf import M_NOWAIT, MCLBYTES, Pool
from mbuf.pool.stock import Pairs, Queue
from mbuf.uma.bucket import Bucket
from mbuf.uma.cpu import Cpus
from mbuf.uma.zone import Zone


class Interrupted(Zone):
    """A zone in which the program ends."""

    def alloc(self, how: int, deadline: float | None) -> None:
        raise KeyboardInterrupt


def test_a_packet_whose_cluster_ends_the_program_gives_its_mbuf_back(pool: Pool) -> None:
    pool.reserve.reinit(3, 2)
    zones = pool.reserve.zones
    assert zones is not None
    clusters = Interrupted("clusters", MCLBYTES, Queue("cluster"), Cpus(1), caching=False)
    pairs, bucket = Pairs(zones.mbuf, clusters, pool.zones.mbuf), Bucket(4)
    with pytest.raises(KeyboardInterrupt):
        pairs.take(bucket, 2, M_NOWAIT, None)
    assert (bucket.cnt, pool.reserve.mbufs, pool.reserve.clusters, pool.out) == (0, 3, 2, 3)
    pool.audit()
    pool.reserve.drain()
