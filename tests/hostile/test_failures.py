"""Requests for memory are refused one by one: nothing has changed then but counts of failures."""

import pytest

from hostile.drive import Failure, play
from hostile.failures import rows
from hostile.known import known
from hostile.run import table
from hostile.sizes import EVERY, FAILURES


@pytest.mark.timeout(600)
def test_whatever_is_refused_changes_nothing() -> None:
    cases = [case for n, case in enumerate(rows(table())) if n % EVERY == 0 and not known(case)]
    tally = play(cases)
    failures: list[Failure] = tally.failures
    assert not failures, "\n".join(map(str, failures[:20]))
    print(f"{tally.reached} injected failures")
    assert tally.reached >= FAILURES
