"""M_NOFREE mbufs, which belong to no zone."""

from collections.abc import Callable
from typing import Any

import pytest

from mbuf import (
    EXT_EXTREF,
    EXT_NET_DRV,
    EXT_RXRING,
    M_EXT,
    M_NOFREE,
    M_PKTHDR,
    M_PROTO1,
    Freed,
    Inval,
    Mbuf,
    Pool,
    RefCount,
)
from mbuf.packet.nofree import NoFree


def untouched(pool: Pool) -> bool:
    """True if no zone has ever got a request."""
    return all(
        (zone.stat().allocs, zone.stat().frees, zone.used, zone.held) == (0, 0, 0, 0) for zone in pool.zones.all()
    )


@pytest.mark.parametrize("flags", [0, M_PKTHDR, M_PKTHDR | M_PROTO1, M_NOFREE | M_PKTHDR])
def test_it_holds_bytes_and_counts_nowhere(pool: Pool, flags: int) -> None:
    m = pool.init(type=8, flags=flags)
    assert (m.flags, m.type, m.size) == (flags | M_NOFREE, 8, 168 if flags & M_PKTHDR else 224)
    assert (m.len, m.offset, m.writable) == (0, 0, True)
    assert bytes(m.append(b"bytes")) == b"bytes"
    assert m.pkthdr.len == 5 if flags & M_PKTHDR else True
    assert untouched(pool)
    m.free()
    with pytest.raises(Freed):
        m.free()
    assert untouched(pool)


def test_each_is_another(pool: Pool) -> None:
    users = [pool.init().append(bytes([n])) for n in range(10)]
    assert [bytes(m) for m in users] == [bytes([n]) for n in range(10)]
    for m in users:
        m.free()
    assert untouched(pool)


def test_dropping_it_is_freeing(pool: Pool) -> None:
    m = pool.init().append(b"x")
    view = m.data
    del m
    assert (bytes(view), pool.stat().drops) == (b"x", 1)
    assert untouched(pool)


def test_a_view_keeps_its_bytes(pool: Pool) -> None:
    m = pool.init().append(b"looked at")
    view = m.data
    m.free()
    others = [pool.init().append(b"others") for _ in range(5)]
    assert bytes(view) == b"looked at"
    view.release()
    for m in others:
        m.free()


@pytest.mark.parametrize("order", ["ring first", "sharer first"])
def test_a_receive_ring_lends_its_memory(pool: Pool, order: str) -> None:
    ring = bytearray(b"packet in the ring")
    m = pool.init(flags=M_PKTHDR).extadd(ring, type=EXT_RXRING)
    m.len = m.pkthdr.len = 6
    n = m.copypacket()
    assert (bytes(n), n.refcnt, n.flags & (M_NOFREE | M_EXT)) == (b"packet", 2, M_EXT)
    for user in (m, n) if order == "ring first" else (n, m):
        user.free()
    assert pool.out == 0
    ring.append(1)


def test_memory_counted_elsewhere_is_given_back_by_the_last(pool: Pool) -> None:
    refs, memory, seen = RefCount(), bytearray(10), []
    m = pool.init(flags=M_PKTHDR).extaddref(memory, refs, lambda m: seen.append(m.flags))
    n = m.copypacket()
    n.free()
    assert seen == []
    m.free()
    assert (len(seen), pool.out, refs.count) == (1, 0, 1)
    memory.append(1)
    m = pool.init().extadd(memory, lambda m: seen.append(m.flags), type=EXT_EXTREF)
    m.free()
    assert len(seen) == 2


def test_other_storage_would_have_nowhere_to_go(pool: Pool) -> None:
    m = pool.init()
    with pytest.raises(Inval, match="M_NOFREE takes"):
        m.extadd(bytearray(1), type=EXT_NET_DRV)
    assert m.ext is None
    m.free()


@pytest.mark.parametrize("storage", [None, EXT_RXRING, EXT_EXTREF])
def test_its_tags_go_at_once(pool: Pool, storage: int | None) -> None:
    m = pool.init(flags=M_PKTHDR)
    n = pool.get()
    if storage is not None:
        m.extadd(bytearray(1), type=storage)
        n.dupcl(m)
    m.tag_prepend(pool.tag_get(1)).tag_prepend(pool.tag_get(2))
    m.free()
    assert pool.tags.count == 0
    n.free()


def test_its_verbs_ask_the_pool_for_mbufs(pool: Pool) -> None:
    m = pool.init(flags=M_PKTHDR).append(b"x" * 500)
    assert (pool.out, len(m)) == (2, 500)
    m.prepend(100)
    assert (pool.out, m.next is not None and m.next.flags & M_NOFREE) == (3, M_NOFREE)
    m.defrag()
    assert (pool.out, m.flags & M_NOFREE) == (1, 0)
    m.freem()


def test_a_cluster_of_a_zone_goes_back_to_it(pool: Pool) -> None:
    m = pool.clget(pool.init(flags=M_PKTHDR)).append(b"x")
    n = m.copypacket()
    m.free()
    n.free()
    assert (pool.out, pool.zones.clust.used - pool.zones.pack.cached) == (0, 0)


def test_a_closed_pool_gives_no_more(make: Callable[..., Pool]) -> None:
    pool = make()
    m = pool.init(flags=M_PKTHDR).append(b"x" * 168)
    assert pool.close() == 0
    with pytest.raises(Inval, match="closed"):
        m.append(b"more")
    assert len(m) == 168
    m.free()
    n = pool.init()
    del n
    assert pool.stat().drops == 0


@pytest.mark.parametrize("how", [0, 3, 0x101, 2**31, 2**32, 2**63, -1])
@pytest.mark.parametrize("name", ["how", "type"])
def test_init_refuses_what_no_allocation_can_be_requested(pool: Pool, name: str, how: int) -> None:
    if name == "type" and how == 3:
        how = 255
    with pytest.raises(Inval, match=name):
        pool.init(**{name: how})


@pytest.mark.parametrize("flags", [M_EXT, 0x100, 1 << 24, 2**31, 2**32, 2**32 | M_PKTHDR, 2**63, -1])
def test_init_refuses_flags_that_follow_the_storage(pool: Pool, flags: int) -> None:
    with pytest.raises(Inval, match="flags"):
        pool.init(flags=flags)


@pytest.mark.parametrize("name", ["how", "type", "flags"])
@pytest.mark.parametrize("value", [1.0, None, "1"])
def test_init_needs_numbers(pool: Pool, name: str, value: Any) -> None:
    with pytest.raises(TypeError):
        pool.init(**{name: value})


def test_it_takes_back_only_its_own(pool: Pool) -> None:
    home: Any = NoFree()
    home.free(None)
    m: Mbuf = pool.init()
    m.free()
    assert untouched(pool)
