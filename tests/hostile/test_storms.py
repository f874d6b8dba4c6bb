"""Threads, signals and waits in the middle of random methods: nothing crashes, hangs or is lost."""

import pytest

from hostile.storms import STORMS, storm
from mbuf import compiled


@pytest.mark.skipif(not compiled(), reason="uncompiled, a handler that raises in a commit may lose memory")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", STORMS)
def test_a_storm_leaves_all_whole(name: str, seed: int) -> None:
    wrong = storm(name, seed, 2)
    assert not wrong, wrong
