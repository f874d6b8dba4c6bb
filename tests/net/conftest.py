"""Fixtures: files of captures, and a network namespace for one test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from net.namespace import Unavailable, namespace


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes bytes to a file named `capture`, which has no suffix, and returns its path."""

    def file(content: bytes) -> Path:
        path = tmp_path / "capture"
        path.write_bytes(content)
        return path

    return file


@pytest.fixture
def netns() -> Iterator[None]:
    """A network namespace for one test, in which it may create interfaces; skips the test where there is none."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("there is no /dev/net/tun")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no permission to open /dev/net/tun")
    try:
        with namespace():
            yield
    except Unavailable as reason:
        pytest.skip(str(reason))
