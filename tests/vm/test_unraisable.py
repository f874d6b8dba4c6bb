import sys
from typing import Any

import pytest

from mbuf.vm.unraisable import run


def test_a_routine_is_called_at_once() -> None:
    seen: list[Any] = []
    run(lambda *args: seen.extend(args), 1, "two")
    assert seen == [1, "two"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_what_a_routine_raises_is_told_and_not_passed_on(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: told.append(event.exc_value))

    def fail() -> None:
        raise error

    run(fail)
    assert told == [error]
