"""Every trace in traces/ has the same states in the library as in the kernel."""

import pytest

from conformance.replay import TRACES, Program, load, missing, replay

FILES = sorted(TRACES.glob("*.jsonl.gz"))
CASES = load(TRACES / "asserts.json.gz")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.partition(".")[0])
def test_the_library_has_the_states_of_the_kernel(file):
    (program,) = load(file)
    replay_or_skip(program)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_panics_the_kernel_raises_an_error_and_changes_nothing(case):
    replay_or_skip(case)


def replay_or_skip(program: Program) -> None:
    unknown = missing(program)
    if unknown:
        pytest.skip(f"operation {unknown} is not built")
    replay(program)
