"""`Refusals` refuses the requests that a test names, and leaves the pool as it was."""

import asyncio

import pytest

from mbuf import M_WAITOK, Inval, NoBufs
from mbuf.testing import Refusals, leaks


def outcomes(pool, names):
    """Call methods of a pool that allocate; True for each that was refused."""
    refused = []
    for name in names:
        try:
            getattr(pool, name)().freem()
        except NoBufs:
            refused.append(True)
        else:
            refused.append(False)
    return refused


@pytest.mark.parametrize(
    ("arguments", "names", "refused"),
    [
        ((1,), "get getcl", [True, False]),
        ((2,), "get getcl get", [False, True, False]),
        ((2, True), "get getcl get", [False, True, True]),
        ((2, True, "pack"), "getcl get getcl get getcl", [False, False, True, False, True]),
        ((1, False, "jumbop"), "get getcl getjcl getjcl", [False, False, True, False]),
        ((9,), "get getcl", [False, False]),
    ],
)
def test_the_requests_that_are_named_are_refused(mbuf_pool, arguments, names, refused):
    with Refusals(mbuf_pool, *arguments) as refusals:
        assert outcomes(mbuf_pool, names.split()) == refused
    assert (refusals.refused, mbuf_pool.stat().refused) == (sum(refused), sum(refused))
    assert outcomes(mbuf_pool, ["get", "getcl"]) == [False, False]


@pytest.mark.mbuf_pool(ncpu=2)
def test_with_several_cpus_a_request_is_refused(mbuf_pool):
    with Refusals(mbuf_pool, 2) as refusals:
        assert outcomes(mbuf_pool, ["get", "getcl", "getjcl"]) == [False, True, False]
    assert refusals.refused == 1


@pytest.mark.mbuf_pool(limits="freebsd", ncpu=2)
def test_with_several_cpus_and_limits_a_request_is_refused(mbuf_pool):
    with Refusals(mbuf_pool, 2, all_later=True) as refusals:
        assert outcomes(mbuf_pool, ["get", "getcl", "getjcl"]) == [False, True, True]
        with pytest.raises(NoBufs):
            mbuf_pool.getcl(M_WAITOK, timeout=0.01)
    assert refusals.refused >= 3


def test_requests_are_counted_by_zone(mbuf_pool):
    with Refusals(mbuf_pool, 100) as refusals:
        outcomes(mbuf_pool, ["get", "getcl", "getcl", "getjcl"])
    assert refusals.requests == {"mbuf": 2, "pack": 2, "jumbop": 1}


def test_the_error_names_the_zone(mbuf_pool):
    with Refusals(mbuf_pool), pytest.raises(NoBufs, match="pack refused on purpose") as caught:
        mbuf_pool.getcl()
    assert caught.value.zone == "pack"


def test_a_method_of_an_mbuf_is_refused_and_changes_nothing(mbuf_pool):
    with mbuf_pool.frombytes(b"x" * 5000) as m:
        k = 0
        refused = True
        while refused:
            k += 1
            with Refusals(mbuf_pool, k) as refusals:
                try:
                    m.dup().freem()
                except NoBufs:
                    assert bytes(m) == b"x" * 5000
            refused = refusals.refused
        assert k > 1


@pytest.mark.mbuf_pool(limits="freebsd")
def test_in_a_pool_with_limits_a_call_that_may_wait_fails_at_once(mbuf_pool):
    with Refusals(mbuf_pool, all_later=True):
        with pytest.raises(NoBufs):
            mbuf_pool.getcl(M_WAITOK)
        with pytest.raises(NoBufs):
            asyncio.run(mbuf_pool.agetcl())


def test_in_a_pool_with_a_budget_a_call_that_may_wait_asks_again(mbuf_pool):
    with Refusals(mbuf_pool) as refusals:
        mbuf_pool.getcl(M_WAITOK, timeout=20).freem()
    assert (refusals.refused, refusals.requests["pack"]) == (1, 2)


def test_in_a_pool_with_a_budget_a_call_may_wait_for_its_timeout(mbuf_pool):
    with Refusals(mbuf_pool, all_later=True), pytest.raises(NoBufs):
        mbuf_pool.getcl(M_WAITOK, timeout=0.01)


def test_a_refusal_within_another_ends_before_it(mbuf_pool):
    with Refusals(mbuf_pool, 3):
        with Refusals(mbuf_pool, 1):
            assert outcomes(mbuf_pool, ["get", "get"]) == [True, False]
        assert outcomes(mbuf_pool, ["get", "get"]) == [False, True]


def test_the_pool_is_as_before_after_an_error(mbuf_pool):
    zones = mbuf_pool.zones
    with pytest.raises(ZeroDivisionError), Refusals(mbuf_pool):
        raise ZeroDivisionError
    assert mbuf_pool.zones is zones


def test_statistics_work_meanwhile(mbuf_pool):
    with mbuf_pool.getcl(), Refusals(mbuf_pool):
        assert mbuf_pool.stat().pack.used == 1
        assert mbuf_pool.out == 1
        assert mbuf_pool.available("clust") > 0
        assert mbuf_pool.sites().total() == 1
        assert leaks(mbuf_pool).startswith("1 mbuf is out:")
        mbuf_pool.audit()
        mbuf_pool.drain()
        repr(mbuf_pool)


def test_a_pool_can_be_closed_meanwhile(mbuf_pool):
    with Refusals(mbuf_pool):
        assert mbuf_pool.close() == 0
    assert mbuf_pool.closed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "1 or more"), ((-1,), "1 or more"), ((1, False, "cluster"), "give mbuf, pack, clust"), ((1.5,), "k")],
)
def test_wrong_arguments_are_refused(mbuf_pool, arguments, message):
    with pytest.raises((Inval, TypeError), match=message):
        Refusals(mbuf_pool, *arguments)


def test_no_pool_and_a_second_use_are_refused(mbuf_pool):
    with pytest.raises(Inval, match="give a Pool, not NoneType"):
        Refusals(None)
    refusals = Refusals(mbuf_pool)
    with refusals:
        pass
    with pytest.raises(Inval, match="used already"), refusals:
        pass
