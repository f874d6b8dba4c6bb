from typing import Any

import pytest

from mbuf.vm.unraisable import run


def test_a_routine_is_called_at_once() -> None:
    seen: list[Any] = []
    run(lambda *args: seen.extend(args), 1, "two")
    assert seen == [1, "two"]


def _fail(error: BaseException) -> None:
    raise error


def test_what_a_routine_raises_is_told_and_not_passed_on(unraisable: list[BaseException]) -> None:
    error = ValueError("no")
    run(_fail, error)
    assert unraisable == [error]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_ends_the_program_is_passed_on(error: BaseException) -> None:
    with pytest.raises(type(error)):
        run(_fail, error)
