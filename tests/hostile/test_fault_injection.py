"""Each request for memory is refused in turn: then only counts of failures have changed."""

import pytest

from hostile.drive import Failure, run_all
from hostile.fault_injection import fault_cases
from hostile.run import table
from hostile.sizes import EVERY, FAILURES
from hostile.xfail import xfail_reason


@pytest.mark.timeout(600)
def test_a_refused_request_changes_nothing() -> None:
    cases = [case for n, case in enumerate(fault_cases(table())) if n % EVERY == 0 and not xfail_reason(case)]
    summary = run_all(cases)
    failures: list[Failure] = summary.failures
    assert not failures, "\n".join(map(str, failures[:20]))
    print(f"{summary.reached} injected failures")
    assert summary.reached >= FAILURES
