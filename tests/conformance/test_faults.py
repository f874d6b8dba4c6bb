"""Requests for memory are refused as the `fail` operation of a trace says."""

import pytest

from conformance.machine import Machine
from mbuf import M_NOWAIT, M_WAITOK, MCLBYTES, NoBufs


@pytest.fixture
def machine():
    machine = Machine({}, caching=True)
    yield machine
    assert not any(machine.close().values())


def outcomes(alloc, count):
    """The results of so many requests: True for each that succeeded."""
    results = []
    for _ in range(count):
        try:
            alloc().free()
            results.append(True)
        except NoBufs:
            results.append(False)
    return results


def test_the_nth_request_is_refused_and_some_after_it(machine):
    machine.faults.fail("mbuf", 2, 2)
    assert outcomes(machine.pool.get, 5) == [True, False, False, True, True]
    assert machine.faults.refused
    assert not machine.faults.active


def test_n_0_refuses_nothing(machine):
    machine.faults.fail("any", 1, 9)
    machine.faults.fail("any", 0, 0)
    assert outcomes(machine.pool.get, 2) == [True, True]
    assert not machine.faults.refused


def test_requests_of_other_zones_do_not_count(machine):
    machine.faults.fail("jumbop", 1, 1)
    assert outcomes(machine.pool.getcl, 2) == [True, True]
    assert outcomes(machine.pool.getjcl, 2) == [False, True]


def test_any_zone_does_not_include_tags(machine):
    machine.faults.fail("any", 2, 1)
    assert outcomes(lambda: machine.pool.tag_alloc(1, 2), 3) == [True, True, True]
    assert outcomes(machine.pool.get, 1) == [True]
    assert outcomes(machine.pool.getcl, 2) == [False, True]


def test_a_request_that_may_wait_is_neither_refused_nor_counted(machine):
    machine.faults.fail("mbuf", 1, 1)
    assert outcomes(lambda: machine.pool.get(M_WAITOK), 2) == [True, True]
    assert outcomes(machine.pool.get, 2) == [False, True]


def test_the_cluster_of_a_packet_is_not_a_request(machine):
    machine.faults.fail("clust", 1, 1)
    assert outcomes(machine.pool.getcl, 1) == [True]
    assert outcomes(lambda: machine.pool.cljget(None, M_NOWAIT, MCLBYTES), 2) == [False, True]


def test_requests_of_an_mbuf_count(machine):
    machine.m[1] = machine.pool.get()
    machine.faults.fail("mbuf", 2, 1)
    with pytest.raises(NoBufs, match="on purpose"):
        machine.m[1].append(bytes(600))
    machine.m[1].append(bytes(600))


@pytest.mark.parametrize("how", [M_NOWAIT, M_WAITOK])
def test_tags_can_be_refused(machine, how):
    machine.faults.fail("tag", 2, 1)
    t = machine.t[1] = machine.pool.tag_alloc(1, 2, b"abc")
    assert outcomes(lambda: t.copy(how), 2) == [how == M_WAITOK, True]


def test_a_zone_at_its_limit_raises_its_own_error():
    machine = Machine({"tun": {"kern.ipc.nmbclusters": 1}}, caching=False)
    machine.c[1] = machine.pool.cljget(None, M_NOWAIT, MCLBYTES)
    machine.m[1] = machine.pool.get()
    with pytest.raises(NoBufs, match=r"mbuf_cluster at its limit of 1.*nmbclusters"):
        machine.pool.clget(machine.m[1])
    assert not any(machine.close().values())


def test_within_off_nothing_is_refused_or_counted(machine):
    machine.faults.fail("mbuf", 1, 1)
    with machine.faults.off():
        assert outcomes(machine.pool.get, 2) == [True, True]
    assert outcomes(machine.pool.get, 2) == [False, True]
