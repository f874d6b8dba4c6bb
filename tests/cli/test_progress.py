import io
import sys

import pytest

from mbuf.cli.progress import progress_bar


def test_progress_is_drawn_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stderr, term, drawn in (
        (io.StringIO(), "xterm", False),
        (Terminal(), "xterm", True),
        (Terminal(), "dumb", False),
    ):
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setenv("TERM", term)
        with progress_bar("replay", 100) as on_progress:
            on_progress(50)
        assert ("replay" in stderr.getvalue()) == drawn
