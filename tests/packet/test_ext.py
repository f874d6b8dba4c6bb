"""Owners of shared storage, which stay in use after they were freed: freebsd-13.md, 8.6."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from mbuf import (
    EXT_CLUSTER,
    EXT_JUMBO9,
    EXT_JUMBO16,
    EXT_JUMBOP,
    EXT_PACKET,
    EXT_SFBUF,
    Ext,
    Interface,
    Mbuf,
    Pool,
    SndTag,
)
from mbuf.packet.ext import Storage
from mbuf.packet.sndtag import SndTags


def used(pool: Pool) -> tuple[int, int]:
    return pool.zones.pack.used, pool.zones.mbuf.used


def test_an_owner_that_is_freed_stays_out_until_the_last_sharer_goes(pool: Pool) -> None:
    p = pool.getcl().append(b"x")
    q = p.copypacket()
    assert used(pool) == (1, 1)
    p.free()
    assert used(pool) == (1, 1)
    assert q.refcnt == 1
    assert q.writable
    q.free()
    assert used(pool) == (0, 0)


def test_a_copy_that_is_freed_returns_to_its_zone_at_once(pool: Pool) -> None:
    p = pool.getcl().append(b"x")
    q = p.copypacket()
    q.free()
    assert used(pool) == (1, 0)
    assert (p.refcnt, p.writable) == (1, True)
    p.free()
    assert used(pool) == (0, 0)


def test_the_copy_of_a_copy_shares_with_the_first(pool: Pool) -> None:
    p = pool.getcl().append(b"x")
    q = p.copypacket()
    r = q.copypacket()
    assert [m.refcnt for m in (p, q, r)] == [3, 3, 3]
    q.free()
    assert used(pool) == (1, 1)
    assert [m.refcnt for m in (p, r)] == [2, 2]
    p.free()
    r.free()
    assert used(pool) == (0, 0)


def plan(pool: Pool, kind: str) -> Mbuf:
    return {
        "packet": lambda: pool.getcl(),
        "cluster": lambda: pool.clget(pool.gethdr()),
        "16k": lambda: pool.getjcl(size=16384),
    }[kind]()


@pytest.mark.parametrize("kind", ["packet", "cluster", "16k"])
@pytest.mark.parametrize("order", [*permutations(range(4))], ids=str)
def test_four_users_may_go_in_any_order(make: Callable[..., Pool], kind: str, order: tuple[int, ...]) -> None:
    pool = make()
    m = plan(pool, kind).append(b"shared")
    users: list[Any] = [m, m.copypacket(), m.copypacket()]
    users.append(users[1].copypacket())
    del m
    for left, n in zip((3, 2, 1, 0), order, strict=True):
        users[n].free()
        users[n] = None
        alive = [user for user in users if user is not None]
        assert [user.refcnt for user in alive] == [left] * left
        assert [bytes(user) for user in alive] == [b"shared"] * left
        # The owner stays in use as long as the storage has users.
        assert pool.out == (left if users[0] is not None else left + (left > 0))
    assert pool.out == 0


def test_a_sharer_left_alone_may_be_shared_again(pool: Pool) -> None:
    p = pool.getcl().append(b"x")
    q = p.copypacket()
    p.free()
    r = q.copypacket()
    assert (q.refcnt, r.refcnt) == (2, 2)
    assert used(pool) == (1, 2)
    q.free()
    assert used(pool) == (1, 1)
    r.free()
    assert used(pool) == (0, 0)


def test_a_copy_keeps_where_its_data_is(pool: Pool) -> None:
    m = pool.getcl()
    m.align(100)
    m.append(b"y" * 60)
    n = m.copypacket()
    assert (n.offset, n.len, n.size) == (m.offset, 60, 2048) == (1944, 60, 2048)
    n.free()
    m.free()


def test_a_packet_that_went_home_brings_its_cluster_back(pool: Pool) -> None:
    for _ in range(30):
        m = pool.getcl().append(b"x")
        n = m.copypacket()
        m.free()
        n.free()
        fresh = pool.getcl()
        assert (fresh.refcnt, fresh.writable, fresh.size, fresh.len) == (1, True, 2048, 0)
        assert fresh.ext is not None
        assert (fresh.ext.type, fresh.ext.embedded) == (6, True)
        fresh.free()


# `m.ext`.


def ext_of(m: Mbuf) -> Ext:
    assert m.ext is not None
    return m.ext


@pytest.mark.parametrize(
    ("make_one", "type", "size"),
    [
        (lambda pool: pool.getcl(), EXT_PACKET, 2048),
        (lambda pool: pool.clget(pool.get()), EXT_CLUSTER, 2048),
        (lambda pool: pool.getjcl(size=4096), EXT_JUMBOP, 4096),
        (lambda pool: pool.getjcl(size=9216), EXT_JUMBO9, 9216),
        (lambda pool: pool.getjcl(size=16384), EXT_JUMBO16, 16384),
    ],
)
def test_a_cluster_has_no_object(pool: Pool, make_one: Callable[[Pool], Mbuf], type: int, size: int) -> None:
    m = make_one(pool)
    n = pool.get().dupcl(m)
    for user, embedded in ((m, True), (n, False)):
        ext = ext_of(user)
        assert (ext.type, ext.size, ext.count, ext.embedded) == (type, size, 2, embedded)
        assert (ext.obj, ext.arg1, ext.arg2) == (None, None, None)
    assert ext_of(m).id == ext_of(n).id
    m.free()
    assert ext_of(n).count == 1
    n.free()


def test_what_was_told_doesnt_change(pool: Pool) -> None:
    m = pool.getcl()
    ext = ext_of(m)
    n = pool.get().dupcl(m)
    assert (ext.count, ext_of(m).count) == (1, 2)
    with pytest.raises(AttributeError):
        ext.count = 5  # type: ignore[misc]
    m.free()
    n.free()


def test_the_repr_of_external_memory_shows_no_bytes(pool: Pool) -> None:
    memory = bytearray(b"secret")
    m, n = pool.get().extadd(memory, None, "one", "two", 0, EXT_SFBUF), pool.get().extadd(memory)
    ext = ext_of(m)
    assert (ext.type, ext.size, ext.obj is memory, ext.arg1, ext.arg2) == (EXT_SFBUF, 6, True, "one", "two")
    assert (ext_of(n).id == ext.id, "secret" in repr(ext)) == (True, False)
    m.free()
    n.free()


# Freed owners.


@pytest.mark.parametrize("kind", ["packet", "cluster", "16k"])
def test_a_lingering_owner_keeps_its_tags_and_no_send_tag(make: Callable[..., Pool], kind: str) -> None:
    class Card(Interface):
        def snd_tag_alloc(self, tags: SndTags, params: Any) -> SndTag:
            return SndTag(tags, self, 0)

    pool = make()
    for _ in range(3):
        m = plan(pool, kind)
        n, o = pool.get().dupcl(m), pool.get().dupcl(m)
        m.tag_prepend(pool.tag_get(1)).tag_prepend(pool.tag_get(2))
        m.pkthdr.snd_tag = pool.snd_tag_alloc(Card())
        m.free()
        del m
        assert (pool.tags.count, pool.snd_tags.count, pool.out) == (2, 0, 3)
        n.free()
        assert (pool.tags.count, pool.out) == (2, 2)
        o.free()
        assert (pool.tags.count, pool.out) == (0, 0)


@pytest.mark.parametrize("kind", ["packet", "cluster"])
def test_the_tags_of_a_lingering_owner_wait_for_views(make: Callable[..., Pool], kind: str) -> None:
    pool = make()
    m = plan(pool, kind).append(b"x")
    n = pool.get().dupcl(m)
    m.tag_prepend(pool.tag_get(1))
    m.free()
    view = n.data
    n.free()
    assert (bytes(view), sum(zone.held for zone in pool.zones.all())) == (b"x", 1)
    view.release()
    assert (pool.tags.count, pool.out) == (0, 0)


def test_an_owner_that_isnt_shared_any_more_frees_its_tags_itself(pool: Pool) -> None:
    m = pool.getcl()
    n = m.copypacket()
    n.free()
    m.tag_prepend(pool.tag_get(1))
    m.free()
    assert pool.tags.count == 0


@pytest.mark.parametrize("arguments", [(), (None, 0, 2048), (None, None, None), (b"x", 0, 1), (1, 2, 3, 4)])
def test_storage_is_not_made_of_nonsense(arguments: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, AttributeError, IndexError)):
        Storage(*arguments)
