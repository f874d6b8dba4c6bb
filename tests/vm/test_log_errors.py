"""What is logged, and what isn't while the interpreter ends."""

import sys

import pytest

from mbuf.vm.log_errors import LogErrors, log


def test_a_text_is_logged_at_its_level(caplog: pytest.LogCaptureFixture) -> None:
    log("warning", "%s of %s", 1, 2)
    assert caplog.record_tuples == [("mbuf", 30, "1 of 2")]


def test_an_exception_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    with LogErrors("drain %s", "udp") as calling:
        raise ValueError("no")
    assert calling.failed
    assert "drain udp failed" in caplog.text
    assert "ValueError: no" in caplog.text


def test_nothing_is_logged_when_nothing_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "logging", None)
    with LogErrors("drain") as calling:
        raise ValueError
    assert calling.failed
