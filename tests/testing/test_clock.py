"""A clock moves only when a test moves it."""

import pytest

from mbuf import Inval, Pool, Vm
from mbuf.testing import Clock


def test_a_clock_stands_still_until_it_is_moved():
    clock = Clock()
    assert clock() == clock()
    before = clock()
    clock.advance(2.5)
    assert clock() - before == 2.5
    clock.now = 7.0
    assert clock() == 7.0


def test_a_clock_of_whole_numbers_keeps_them():
    clock = Clock(5)
    clock.advance(10**18)
    assert repr(clock()) == "1000000000000000005"


def test_a_clock_does_not_go_back():
    clock = Clock(5)
    with pytest.raises(Inval, match="-1 is negative"):
        clock.advance(-1)
    assert clock() == 5


def test_a_pool_takes_the_clock():
    with Pool(vm=Vm(1 << 24, clock=Clock()), worker=False) as pool:
        pool.getcl().freem()
