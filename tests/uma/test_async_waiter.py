from collections.abc import Callable

import pytest

from chains import exhaust
from mbuf import Inval, NoBufs, Pool, Vm
from mbuf.uma.async_waiter import AsyncWaiter
from mbuf.uma.backend import Backend

Small = Callable[..., Pool]


def test_the_next_item_is_for_whose_turn_it_is(small: Small) -> None:
    pool = small()
    taken = exhaust(pool.getcl)
    woken: list[int] = []
    turn = AsyncWaiter(pool.zones.pack, lambda: not woken.append(1))
    assert (woken, pool.zones.clust.exhausted) == ([], True)
    taken.pop().freem()
    assert (woken, exhaust(pool.getcl)) == ([1], [])
    taken.append(turn.use(pool.getcl))
    turn.leave()
    assert exhaust(pool.getcl) == []
    pool.free_bulk(taken)


@pytest.mark.parametrize("kind", ["get", "getcl"])
def test_what_came_and_was_not_used_is_for_the_next(small: Small, kind: str) -> None:
    pool = small()
    ask = getattr(pool, kind)
    zone = pool.zones.mbuf if kind == "get" else pool.zones.pack
    taken = exhaust(ask)
    turns = [AsyncWaiter(zone, lambda: True) for _ in range(3)]
    taken.pop().freem()
    turns[0].leave()
    with pytest.raises(Inval):
        # Requests nothing: the grant goes to the next waiter.
        turns[1].use(lambda: pool.getm2(0))
    turns[1].leave()
    taken.append(turns[2].use(ask))
    turns[2].leave()
    assert exhaust(ask) == []
    pool.free_bulk(taken)
    assert zone.bypassed == 0


def test_a_turn_given_up_before_it_comes_leaves_no_trace(small: Small) -> None:
    pool = small()
    taken = exhaust(pool.getcl)
    AsyncWaiter(pool.zones.pack, lambda: True).leave()
    assert (len(pool.zones.clust.limiter.waiters), pool.zones.pack.bypassed, pool.zones.clust.bypassed) == (0, 0, 0)
    pool.free_bulk(taken)


def test_the_turn_comes_at_once_where_there_is_room_by_now(small: Small) -> None:
    pool = small()
    woken: list[int] = []
    turn = AsyncWaiter(pool.zones.mbuf, lambda: not woken.append(1))
    assert woken == [1]
    turn.use(pool.get).free()
    turn.leave()


def test_pages_have_a_line_as_well(make: Callable[..., Pool], few: Callable[..., dict[str, int]]) -> None:
    pool = make(few(clusters=1000, mbufs=4000), vm=Vm(1 << 18), strict=False)
    taken = exhaust(pool.getcl)
    woken: list[int] = []
    turns = [AsyncWaiter(pool.zones.pack, lambda: not woken.append(1)) for _ in range(2)]
    assert woken == []
    taken.pop().freem()
    assert woken == [1]
    turns[0].leave()
    assert woken == [1, 1]
    taken.append(turns[1].use(pool.getcl))
    turns[1].leave()
    pool.free_bulk(taken)


def test_where_there_is_not_a_line_the_denial_is_raised(pool: Pool) -> None:
    class Empty(Backend):
        def denied(self) -> NoBufs:
            return NoBufs("never any")

    zone = pool.zones.mbuf
    assert zone.backend.wait_target(zone) == (zone, zone.backend)
    assert Empty().wait_target(zone) == (zone, None)

    class Zone:
        def wait_target(self) -> tuple[object, None]:
            return self, None

        def denied(self) -> NoBufs:
            return Empty().denied()

    with pytest.raises(NoBufs, match="never any"):
        AsyncWaiter(Zone(), lambda: True)  # type: ignore[arg-type]


def test_leaving_twice_leaves_once(small: Small) -> None:
    pool = small()
    taken = exhaust(pool.getcl)
    turns = [AsyncWaiter(pool.zones.pack, lambda: True) for _ in range(2)]
    turns[0].leave()
    turns[0].leave()
    clust = pool.zones.clust
    assert (len(clust.limiter.waiters), clust.bypassed, clust.limiter.sleeps) == (1, 2, 2)
    turns[1].leave()
    assert (len(clust.limiter.waiters), clust.bypassed) == (0, 0)
    pool.free_bulk(taken)


def test_a_task_that_raises_when_it_is_woken_at_once_does_not_wait(small: Small) -> None:
    pool = small()
    woken: list[int] = []

    def wake() -> bool:
        woken.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        AsyncWaiter(pool.zones.mbuf, wake)
    zone = pool.zones.mbuf
    assert (len(woken), zone.bypassed, len(zone.backend._waiters)) == (8, 0, 0)
    # No item was reserved for it.
    taken = exhaust(pool.get)
    assert len(taken) == 40
    pool.audit()
    pool.free_bulk(taken)
