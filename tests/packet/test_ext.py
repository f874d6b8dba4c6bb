"""Which mbuf stays out while others use its storage: freebsd-13.md, 8.6."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from mbuf import Mbuf, Pool


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


def test_a_sharer_that_is_freed_goes_home_at_once(pool: Pool) -> None:
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
        # The owner stays out for as long as anybody is there.
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
