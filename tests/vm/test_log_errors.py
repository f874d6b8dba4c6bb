"""What is logged, and what isn't while the interpreter ends."""

import ast
import re
import sys
from pathlib import Path

import pytest

from mbuf.vm.log_errors import LogErrors, log

ROOT = Path(__file__).parents[2]


def test_a_text_is_logged_at_its_level(caplog: pytest.LogCaptureFixture) -> None:
    log("warning", "%s of %s", 1, 2)
    log("error", "no", logger="mbuf.net", extra={"port": 53})
    assert caplog.record_tuples == [("mbuf", 30, "1 of 2"), ("mbuf.net", 40, "no")]
    assert vars(caplog.records[1])["port"] == 53


def logged() -> dict[str, str]:
    """Each text that the package logs, without its arguments, and where."""
    found: dict[str, str] = {}
    for path in (ROOT / "src/mbuf").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name in ("log", "LogErrors") and path.name != "log_errors.py":
                text = ast.unparse(node.args[name == "log"])
                found[re.sub(r"^f?.|.$|\{.*?\}", "", text)] = f"{path.name}:{node.lineno}"
    return found


def test_the_page_on_logging_has_every_text() -> None:
    page = (ROOT / "docs/howto/logging.md").read_text("utf-8")
    texts = logged()
    assert len(texts) >= 8
    for text, place in texts.items():
        for part in re.split(r"%[rsd]", text):
            assert part.strip(" ;,") in page, f"{place}: add this line to docs/howto/logging.md"


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
