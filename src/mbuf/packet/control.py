"""What a datagram has beside its bytes and its peer: the local address, TOS and hop limit. See cmsg(3), ip(7), ipv6(7).

A `Control` is made by the program, for packets that it sends, or by a port, for packets that arrive: of a *key*, a
struct with all fields, which the port compares to make one object for all packets in succession that have the same. For
sending it has the control messages as the kernel reads them, made once.
"""

from __future__ import annotations

# Not `socket`, which takes 3 ms to import, and which a program may do without.
import _socket as socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval

#: Control messages, and the forms of their data: in_pktinfo, in6_pktinfo, numbers.
IP_PKTINFO = 8
_PKTINFO = struct.Struct("=i4s4s")
_PKTINFO6 = struct.Struct("=16sI")
_INT = struct.Struct("=i")
#: struct cmsghdr: length, level, type; what follows it begins at a multiple of its size.
_HEAD = struct.Struct("@Nii")
_ALIGN = struct.calcsize("N")
#: The fields of a key: family of the local address (0 if unknown), which of TOS (1) and hop limit (2) are known, these
#: two, interface, the address in the datagram, and for IPv4 the address to answer from.
KEY = struct.Struct("=BBBBI16s4s")
HAS_TOS = 1
HAS_TTL = 2
#: Addresses in IPv6 that stand for IPv4. See RFC 4291, 2.5.5.2.
_MAPPED = bytes(10) + b"\xff\xff"


@cython.cclass
class Control:
    """Where a datagram arrived, and what its IP header said; or what it is to be sent with. It never changes.

    Packets that a port with the options `local`, `tos` or `ttl` receives have one as `m.control`. Make one to send
    with: `m.control = Control(local="192.0.2.1", tos=0x28)`. The arguments are:

    * `local`: the address to send from, one of this host's, by number.
    * `interface`: the number of the interface to send through. See if_nametoindex(3).
    * `tos`: the TOS byte of IPv4 or the traffic class of IPv6, 0 to 255: DSCP in the upper six bits, ECN in the lower
      two.
    * `ttl`: the hop limit, 1 to 255.

    What isn't given is as the socket has it. A control that was received sets the address to send from, and nothing
    else, and that only for a port that has the option `local` and isn't connected: so answers go from the address that
    was asked. Raises `Inval`.
    """

    __slots__ = ("_in", "_in6", "interface", "local", "received", "tos", "ttl")

    def __init__(
        self, local: str | None = None, interface: int = 0, tos: int | None = None, ttl: int | None = None
    ) -> None:
        address = None if local is None else packed_host(local)
        interface = _number("interface", interface, 0, 0x7FFFFFFF)
        tos = None if tos is None else _number("tos", tos, 0, 255)
        ttl = None if ttl is None else _number("ttl", ttl, 1, 255)
        #: The address of this host, or a group that it is in; None if it isn't known.
        self.local: str | None = None if address is None else _host(address)
        #: The number of the interface; 0 if it isn't known.
        self.interface = interface
        #: TOS byte or traffic class; None if it isn't known.
        self.tos: int | None = tos
        #: Hop limit; None if it isn't known.
        self.ttl: int | None = ttl
        #: True if a port made it of what it received.
        self.received = False
        self._in, self._in6 = _messages(address, interface, tos, ttl)

    @property
    def ecn(self) -> int:
        """The ECN bits of `tos`: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE; 0 if it isn't known. See RFC 3168, 5."""
        tos = self.tos
        return 0 if tos is None else tos & 3

    @property
    def dscp(self) -> int:
        """The DSCP of `tos`; 0 if it isn't known. See RFC 2474."""
        tos = self.tos
        return 0 if tos is None else tos >> 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Control) and _fields(self) == _fields(other)

    def __hash__(self) -> int:
        return hash(_fields(self))

    def __repr__(self) -> str:
        local, tos, ttl = self.local, self.tos, self.ttl
        return f"Control(local={local!r}, interface={self.interface}, tos={tos}, ttl={ttl})"


def _fields(control: Any) -> tuple[Any, ...]:
    return control.local, control.interface, control.tos, control.ttl, control.received


def received_control(key: bytes) -> Control:
    """The control of a key, of packets that were received."""
    family, known, tos, ttl, interface, address, source = KEY.unpack(key)
    control: Control = Control.__new__(Control)
    control.local = None
    control.interface = interface
    control.tos = tos if known & HAS_TOS else None
    control.ttl = ttl if known & HAS_TTL else None
    control.received = True
    control._in = control._in6 = b""
    if family == socket.AF_INET:
        control.local = _host(address[:4])
        control._in, control._in6 = _messages(source, 0, None, None)
    elif family == socket.AF_INET6:
        control.local = _host(address)
        # A group can't be sent from.
        if address[0] != 0xFF:
            control._in6 = _messages(address, 0, None, None)[1]
    return control


def control_messages(control: Control, ipv6: bool, received: bool) -> bytes | None:
    """The control messages for a socket of IPv6 or IPv4, or None; those of a received control only if asked.

    Raises `Inval` if the socket is one of IPv4, and the local address isn't.
    """
    if control.received and not received:
        return None
    messages = control._in6 if ipv6 else control._in
    if messages is None:
        raise Inval(f"push: {control!r} has an address of IPv6, and the socket is one of IPv4")
    return messages or None


def _host(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6 if len(address) == 16 else socket.AF_INET, address)


def packed_host(host: Any) -> bytes:
    """The bytes of an address by number."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, TypeError, ValueError):
        raise Inval(f'local {host!r}: give an address of this host by number, as in "192.0.2.1"') from None


def _number(name: str, value: Any, least: int, most: int) -> int:
    number = int.__index__(value) if isinstance(value, int) else least - 1
    if not least <= number <= most:
        raise Inval(f"{name} {value!r}: give a number from {least} to {most}")
    return number


def _messages(address: bytes | None, interface: int, tos: int | None, ttl: int | None) -> tuple[bytes | None, bytes]:
    """The control messages for a socket of IPv4, and for one of IPv6, which may send to peers of IPv4 too.

    There are none for IPv4 (None) if the address is one of IPv6.
    """
    four, six = [], []
    if address is not None or interface:
        address = address or b""
        mapped = _MAPPED + address if len(address) == 4 else address
        if len(address) < 16:
            four.append((socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(interface, address, b"")))
        six.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(mapped, interface)))
    for value, kind, kind6 in ((tos, socket.IP_TOS, socket.IPV6_TCLASS), (ttl, socket.IP_TTL, socket.IPV6_HOPLIMIT)):
        if value is not None:
            four.append((socket.IPPROTO_IP, kind, _INT.pack(value)))
            six.append((socket.IPPROTO_IP, kind, _INT.pack(value)))
            six.append((socket.IPPROTO_IPV6, kind6, _INT.pack(value)))
    return None if address is not None and len(address) == 16 else _joined(four), _joined(six)


def _joined(messages: list[tuple[int, int, bytes]]) -> bytes:
    """Control messages as they are in memory."""
    whole = b""
    for level, kind, data in messages:
        whole += _HEAD.pack(_HEAD.size + len(data), level, kind) + data + bytes(-len(data) % _ALIGN)
    return whole


def separated(messages: bytes) -> list[tuple[int, int, bytes]]:
    """Control messages as the socket module takes them."""
    found = []
    while messages:
        size, level, kind = _HEAD.unpack_from(messages)
        found.append((level, kind, messages[_HEAD.size : size]))
        messages = messages[size + -size % _ALIGN :]
    return found
