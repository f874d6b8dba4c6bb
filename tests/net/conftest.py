"""Files for captures to be read from; a network for oneself alone."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from net.namespace import Refused, namespace


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a capture and returns its path; the name says nothing of the content."""

    def file(content: bytes) -> Path:
        path = tmp_path / "capture"
        path.write_bytes(content)
        return path

    return file


@pytest.fixture
def alone() -> Iterator[None]:
    """A network namespace of the test's own, with the right to make interfaces; skips where there is none."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("there is no /dev/net/tun")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun may not be opened")
    try:
        with namespace():
            yield
    except Refused as why:
        pytest.skip(str(why))
