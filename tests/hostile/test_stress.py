"""Stress tests: threads, signals and waits during random methods. Nothing crashes, hangs or is lost."""

import pytest

from hostile.stress import STRESS_TESTS, run_in_child
from mbuf import compiled


@pytest.mark.skipif(not compiled(), reason="uncompiled, a handler that raises in a commit may lose memory")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", STRESS_TESTS)
def test_nothing_is_damaged_under_stress(name: str, seed: int) -> None:
    wrong = run_in_child(name, seed, 2)
    assert not wrong, wrong
