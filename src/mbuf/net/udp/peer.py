"""The addresses that datagrams come from and go to, kept as the kernel's own names.

A name is the bytes of a sockaddr. It is converted to the address tuple of Python's socket module only when a program
reads `Peer.address`, so that a received datagram costs no conversion.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval

#: sockaddr_in after the family: port, address; sockaddr_in6: port, flow label, address, and then the scope.
_IN = struct.Struct("!H4s8x")
_IN6 = struct.Struct("!HI16s")


@cython.cclass
class Peer:
    """A UDP address, IPv4 or IPv6: `Peer(("192.0.2.1", 53))`, `Peer(("2001:db8::1", 53))`.

    `address` is a tuple as the socket module uses it, its host given by number (no name is looked up), or the bytes of
    a sockaddr. Raises `Inval` for any other. Peers of the same address are equal and have the same hash.

    A packet that an unconnected `UdpPort` received has its sender's `Peer` as `m.pkthdr.rcvif`; packets that arrived
    in succession from one sender share the object. `UdpPort.push` sends a packet to the peer that it has there.
    """

    __slots__ = ("name",)

    def __init__(self, address: Any) -> None:
        #: The bytes of the sockaddr.
        self.name: bytes = address if isinstance(address, bytes) else packed(address)

    @property
    def address(self) -> tuple[Any, ...]:
        """Host and port, and for IPv6 flow label and scope too, as Python's socket module has them.

        Raises `Inval` if the peer was made of bytes that are no address of UDP.
        """
        return unpacked(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Peer) and self.name == cython.cast(Peer, other).name

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> Any:
        return Peer, (self.name,)

    def __repr__(self) -> str:
        return f"Peer({self.address!r})"


def packed(address: Any) -> bytes:
    """The sockaddr of an address whose host is given by number."""
    try:
        host, port, *rest = address
        flow, scope = rest or (0, 0)
        if ":" in host:
            head = _IN6.pack(port, flow, socket.inet_pton(socket.AF_INET6, host.partition("%")[0]))
            return _family(socket.AF_INET6) + head + scope.to_bytes(4, sys.byteorder)
        return _family(socket.AF_INET) + _IN.pack(port, socket.inet_pton(socket.AF_INET, host))
    except (TypeError, ValueError, AttributeError, OverflowError, OSError, struct.error):
        raise Inval(f'peer {address!r}: give ("192.0.2.1", port) or ("2001:db8::1", port), a host by number') from None


def unpacked(name: bytes) -> tuple[Any, ...]:
    """The address of a sockaddr."""
    family = int.from_bytes(name[:2], sys.byteorder)
    if family == socket.AF_INET and len(name) == 2 + _IN.size:
        port, host = _IN.unpack(name[2:])
        return socket.inet_ntop(family, host), port
    if family == socket.AF_INET6 and len(name) == 2 + _IN6.size + 4:
        port, flow, host = _IN6.unpack(name[2:-4])
        return socket.inet_ntop(family, host), port, flow, int.from_bytes(name[-4:], sys.byteorder)
    raise Inval(f"{name!r} is no sockaddr of a UDP peer")


def _family(number: int) -> bytes:
    return int(number).to_bytes(2, sys.byteorder)
