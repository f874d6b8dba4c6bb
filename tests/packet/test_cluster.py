import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import Freed, Inval, Pool, compiled
from mbuf.packet.cluster import Cluster

SIZES = (2048, 4096, 9216, 16384)


@pytest.mark.parametrize("size", SIZES)
def test_a_raw_cluster_is_bytes_to_read_and_write(pool: Pool, size: int) -> None:
    cluster = pool.cljget(None, size=size)
    assert isinstance(cluster, Cluster)
    assert (cluster.size, len(cluster.data), cluster.data.readonly) == (size, size, False)
    data = cluster.data
    data[:] = bytes(range(256)) * (size // 256)
    assert bytes(cluster.data) == bytes(data)
    data.release()
    cluster.free()


@pytest.mark.parametrize("size", SIZES)
def test_an_mbuf_takes_a_cluster_over_with_its_bytes(pool: Pool, size: int) -> None:
    cluster: Any = pool.cljget(None, size=size)
    cluster.data[:5] = b"hello"
    m = pool.gethdr()
    assert m.cljset(cluster) is m
    m.grow(5)
    assert bytes(m) == b"hello"
    assert (m.size, m.refcnt, m.offset) == (size, 1, 0)
    assert m.ext is not None
    assert m.ext.embedded
    with pytest.raises(Freed, match="freed or given to an mbuf"):
        cluster.data  # noqa: B018
    m.free()


def given_away(pool: Pool) -> Any:
    cluster: Any = pool.cljget(None, size=2048)
    cluster.free()
    return cluster


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.size,
        lambda c: c.data,
        lambda c: c.free(),
    ],
    ids=["size", "data", "free"],
)
def test_after_the_free_every_method_raises(pool: Pool, ask: Callable[[Any], object]) -> None:
    cluster = given_away(pool)
    with pytest.raises(Freed):
        ask(cluster)


def test_the_list_of_what_is_asked_above_is_complete(pool: Pool) -> None:
    names = {name for name in dir(Cluster) if not name.startswith("_")} - {"buf", "off", "count", "take"}
    if not compiled():
        names -= {"before_export", "end", "listed", "on_release", "view"}
    assert names == {"size", "data", "free"}


def test_a_freed_cluster_cannot_be_attached(pool: Pool) -> None:
    m = pool.gethdr()
    with pytest.raises(Freed):
        m.cljset(given_away(pool))
    assert m.ext is None
    m.free()


def test_no_cluster_is_attached_twice(pool: Pool) -> None:
    m, n = pool.gethdr(), pool.gethdr()
    cluster: Any = pool.cljget(None, size=2048)
    m.cljset(cluster)
    with pytest.raises(Freed):
        n.cljset(cluster)
    assert n.ext is None
    m.free()
    n.free()


def test_an_mbuf_with_a_cluster_takes_no_other(pool: Pool) -> None:
    m = pool.getcl()
    cluster: Any = pool.cljget(None, size=2048)
    with pytest.raises(Inval, match="external storage already"):
        m.cljset(cluster)
    assert cluster.size == 2048
    cluster.free()
    m.free()


@pytest.mark.parametrize("junk", [None, 1, "cluster", b"x" * 2048])
def test_what_is_not_a_cluster_cannot_be_attached(pool: Pool, junk: Any) -> None:
    m = pool.gethdr()
    with pytest.raises((Inval, TypeError, AttributeError)):
        m.cljset(junk)
    assert m.ext is None
    m.free()


def test_dropping_a_cluster_frees_it(pool: Pool) -> None:
    pool.cljget(None, size=4096)
    gc.collect()
    assert pool.zones.jumbop.used == 0


def test_a_view_keeps_a_cluster(pool: Pool) -> None:
    cluster: Any = pool.cljget(None, size=4096)
    data = cluster.data
    data[:4] = b"keep"
    cluster.free()
    assert (pool.zones.jumbop.used, pool.zones.jumbop.held) == (1, 1)
    for n in [pool.getjcl() for _ in range(5)]:
        n.room[:] = b"x" * 4096
        n.free()
    assert bytes(data).startswith(b"keep")
    data.release()
    assert (pool.zones.jumbop.used, pool.zones.jumbop.held) == (0, 0)


def test_a_view_keeps_a_cluster_that_was_attached_and_freed(pool: Pool) -> None:
    cluster: Any = pool.cljget(None, size=2048)
    data = cluster.data
    m = pool.gethdr().cljset(cluster)
    m.free()
    assert pool.zones.clust.held == 1
    del data
    assert pool.zones.clust.held == 0


def test_a_cluster_comes_from_a_pool() -> None:
    with pytest.raises(TypeError, match="comes from a pool"):
        Cluster()


@pytest.mark.parametrize("size", SIZES)
def test_the_size_of_a_cluster_is_its_memory(pool: Pool, size: int) -> None:
    cluster = pool.cljget(None, size=size)
    assert isinstance(cluster, Cluster)
    with_memory = sys.getsizeof(cluster)
    cluster.free()
    assert with_memory - sys.getsizeof(cluster) == size
