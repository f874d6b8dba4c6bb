"""What an interface of Linux is called, and what it tells."""

import pytest

from mbuf import Inval
from mbuf.net.link.interface import checked, mtu


@pytest.mark.parametrize("name", ["x" * 16, "é" * 8, "a\0b"])
def test_a_name_that_no_interface_can_have_is_refused(name: str) -> None:
    with pytest.raises(Inval, match="15 bytes, none of them zero"):
        checked(name)


def test_a_name_is_text() -> None:
    assert checked("eth0") == b"eth0"
    assert checked("x" * 15) == b"x" * 15
    with pytest.raises(Inval, match="as in 'eth0'"):
        checked(b"eth0")  # type: ignore[arg-type]


def test_the_loopback_has_an_mtu() -> None:
    assert mtu(b"lo") >= 1280
    with pytest.raises(OSError, match="No such device"):
        mtu(b"nowhere")
