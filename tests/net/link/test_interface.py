"""Names of interfaces, and their MTU."""

import pytest

from mbuf import Inval
from mbuf.net.link.interface import encode_name, mtu


@pytest.mark.parametrize("name", ["x" * 16, "é" * 8, "a\0b"])
def test_a_name_that_no_interface_can_have_is_refused(name: str) -> None:
    with pytest.raises(Inval, match="15 bytes, none of them zero"):
        encode_name(name)


def test_a_name_is_a_str() -> None:
    assert encode_name("eth0") == b"eth0"
    assert encode_name("x" * 15) == b"x" * 15
    with pytest.raises(Inval, match="as in 'eth0'"):
        encode_name(b"eth0")  # type: ignore[arg-type]


def test_the_loopback_interface_has_an_mtu() -> None:
    assert mtu(b"lo") >= 1280
    with pytest.raises(OSError, match="No such device"):
        mtu(b"nowhere")
