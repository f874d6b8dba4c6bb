import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from mbuf.cli.statusline import print_line, status_line


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TextIO, int]]:
    """Standard output is a terminal: it, and the descriptor to read what it gets."""
    reader, writer = pty.openpty()
    monkeypatch.setenv("COLUMNS", "40")
    try:
        with os.fdopen(writer, "w") as out:
            monkeypatch.setattr(sys, "stdout", out)
            yield out, reader
    finally:
        os.close(reader)


def read_until(reader: int, end: str) -> str:
    output = b""
    while not output.endswith(end.encode()):
        output += os.read(reader, 65536)
    return output.decode()


def test_elsewhere_than_on_a_terminal_each_status_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with status_line() as (write, show_status):
        show_status("one")
        write("two")
        show_status("three")
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


def test_on_a_terminal_the_status_is_replaced_and_other_lines_stay_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with terminal(monkeypatch) as (_, reader):
        with status_line() as (write, show_status):
            write("first")
            show_status("one")
            show_status("two " + "x" * 100)
            write("last")
        # The last status is erased at the end.
        text = read_until(reader, "\x1b[1A\x1b[2K")
    assert text.index("first\r\n") < text.index("one") < text.index("two xxx") < text.index("last\r\n")
    assert "one\r\x1b[2Ktwo " in text
    assert "two " + "x" * 35 + "\u2026" in text
    assert "x" * 36 not in text


def test_on_a_terminal_that_moves_no_cursor_each_status_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal(monkeypatch) as (_, reader):
        with status_line() as (write, show_status):
            show_status("one")
            show_status("two")
        assert read_until(reader, "two\r\n") == "one\r\ntwo\r\n"


def test_lines_for_a_closed_pipe_are_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr("click.echo", broken)
        print_line("one")
        out.write("discarded")
