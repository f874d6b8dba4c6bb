"""Every program that attacks a pool ends with the right result or a clear error, and nothing is lost or damaged."""

import sys
from collections.abc import Iterator

import pytest

from cases.harness import TIMEOUT, Runner, load
from cases.xfail import NEWER, XFAIL
from mbuf import compiled

LEG = "compiled" if compiled() else "pure"


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()


def marked(name: str) -> object:
    """The program with its marks on this leg."""
    marks = []
    base = name.partition("[")[0]
    if sys.version_info < NEWER.get(base, (3, 11)):
        marks.append(pytest.mark.skip(reason="needs a newer Python"))
    found = XFAIL.get(name)
    if found is not None and LEG in found[0].split():
        marks.append(
            pytest.mark.xfail(
                run="hangs" not in found[0].split(), strict="sometimes" not in found[0].split(), reason=found[1]
            )
        )
    return pytest.param(name, marks=marks)


@pytest.mark.timeout(TIMEOUT + 30)
@pytest.mark.parametrize("name", [marked(name) for name in load()])
def test_an_attack_damages_nothing(name: str, runner: Runner) -> None:
    code, output = runner.run(name)
    assert code == 0, f"ended with {code}:\n{output[-3000:]}"


def test_every_program_that_is_expected_to_fail_exists() -> None:
    assert set(XFAIL) <= set(load())
