"""Every program that is kept here goes as it went in the kernel."""

import pytest

from conformance.replay import TRACES, Program, load, missing, replay

FILES = sorted(TRACES.glob("*.jsonl.gz"))
CASES = load(TRACES / "asserts.json.gz")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.partition(".")[0])
def test_the_library_goes_through_the_states_of_the_kernel(file):
    (program,) = load(file)
    check(program)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_stops_the_kernel_is_refused_and_changes_nothing(case):
    check(case)


def check(program: Program) -> None:
    lacking = missing(program)
    if lacking:
        pytest.skip(f"operation {lacking} is not built")
    replay(program)
