"""A `Control` has what it was made of, and the control messages for that."""

import socket
import struct
from typing import Any

import pytest

from mbuf import Inval, Pool
from mbuf.packet.control import HAS_TOS, HAS_TTL, KEY, Control, control_messages, received_control, separated

V4, V6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6


def test_a_control_has_what_it_was_made_of() -> None:
    control = Control("192.0.2.1", interface=3, tos=0xB9, ttl=64)
    assert (control.local, control.interface, control.tos, control.ttl) == ("192.0.2.1", 3, 0xB9, 64)
    assert (control.dscp, control.ecn, control.received) == (46, 1, False)
    assert control == Control("192.0.2.1", 3, 0xB9, 64) != Control("192.0.2.1", 3, 0xB9, 65)
    assert hash(control) == hash(Control("192.0.2.1", 3, 0xB9, 64))
    assert control != 5
    assert repr(control) == "Control(local='192.0.2.1', interface=3, tos=185, ttl=64)"
    assert (Control().local, Control().ecn, Control().dscp) == (None, 0, 0)
    # Addresses are compared as numbers.
    assert Control("2001:DB8:0::1").local == "2001:db8::1"


@pytest.mark.parametrize(
    "given",
    [
        {"local": "localhost"},
        {"local": ("192.0.2.1", 5)},
        {"local": b"x"},
        {"interface": -1},
        {"interface": 1 << 31},
        {"tos": 256},
        {"tos": -1},
        {"tos": "CS1"},
        {"ttl": 0},
        {"ttl": 256},
        {"ttl": 1.0},
    ],
)
def test_what_is_out_of_range_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Inval, match=f"^{next(iter(given))} "):
        Control(**given)


def messages(control: Control, ipv6: bool, received: bool = False) -> list[tuple[int, int, bytes]]:
    return separated(control_messages(control, ipv6, received) or b"")


def test_the_messages_are_those_of_the_family() -> None:
    here = socket.inet_aton("192.0.2.1")
    control = Control("192.0.2.1", 3, 4, 5)
    numbers = [(V4, socket.IP_TOS, struct.pack("i", 4)), (V4, socket.IP_TTL, struct.pack("i", 5))]
    assert messages(control, False) == [(V4, 8, struct.pack("i", 3) + here + bytes(4)), *numbers]
    mapped = bytes(10) + b"\xff\xff" + here
    assert messages(control, True) == [
        (V6, socket.IPV6_PKTINFO, mapped + struct.pack("I", 3)),
        numbers[0],
        (V6, socket.IPV6_TCLASS, struct.pack("i", 4)),
        numbers[1],
        (V6, socket.IPV6_HOPLIMIT, struct.pack("i", 5)),
    ]
    assert messages(Control(), False) == messages(Control(), True) == []
    assert messages(Control("::1"), True) == [(V6, socket.IPV6_PKTINFO, bytes(15) + b"\1" + bytes(4))]
    with pytest.raises(Inval, match="the socket is one of IPv4"):
        control_messages(Control("::1"), False, False)


def key(family: int, known: int, address: bytes, source: bytes = b"") -> bytes:
    return KEY.pack(family, known, 7, 63, 2, address, source)


def test_a_received_control_sets_the_source_alone() -> None:
    here, there = socket.inet_aton("192.0.2.1"), socket.inet_aton("224.0.0.1")
    control = received_control(key(socket.AF_INET, HAS_TOS | HAS_TTL, there, here))
    assert (control.local, control.interface, control.tos, control.ttl) == ("224.0.0.1", 2, 7, 63)
    assert control.received
    assert messages(control, False) == []
    assert messages(control, False, True) == [(V4, 8, bytes(4) + here + bytes(4))]
    six = received_control(key(socket.AF_INET6, 0, bytes(15) + b"\1"))
    assert (six.local, six.tos, six.ttl) == ("::1", None, None)
    assert messages(six, True, True) == [(V6, socket.IPV6_PKTINFO, bytes(15) + b"\1" + bytes(4))]
    # A group isn't sent from.
    group = received_control(key(socket.AF_INET6, 0, b"\xff\x02" + bytes(13) + b"\1"))
    assert (group.local, messages(group, True, True)) == ("ff02::1", [])
    assert received_control(key(0, 0, b"")).local is None


def test_a_packet_has_the_control_that_was_set(pool: Pool) -> None:
    with pool.frombytes(bytes(3000)) as m:
        assert m.control is None
        control = Control(tos=4)
        m.control = control
        assert (m.control is control, m.peer, m.pkthdr.rcvif) == (True, None, None)
        m.peer = ("192.0.2.1", 53)
        parts = [m.copypacket(), m.dup(), *m.copypacket().segment(1000)]
        assert all(n.control is control and n.peer == m.peer for n in parts)
        pool.free_bulk(parts)
        m.control = None
        assert (m.control, m.peer is None) == (None, False)
        for bad in (4, "192.0.2.1", {"tos": 4}):
            with pytest.raises(Inval, match="^control: give a Control or None"):
                m.control = bad  # type: ignore[assignment]


def test_a_control_is_shown(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    with pool.frombytes(b"x") as m:
        m.control = Control(tos=4)
        m.print()
    assert "packet of 1 bytes, Control(local=None, interface=0, tos=4, ttl=None)" in capsys.readouterr().out
