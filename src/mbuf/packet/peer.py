"""The addresses that datagrams come from and go to, kept as the kernel's own names.

A name is the bytes of a sockaddr. It is converted to the address of Python's socket module only when a program reads
`Peer.address`, so that a received datagram costs no conversion.
"""

from __future__ import annotations

# Not `socket`, which takes 3 ms to import, and which a program may do without.
import _socket as socket
import os
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
#: The most bytes of a path in sockaddr_un.
_PATH_MAX = 108
#: The flow label has 20 bits. See RFC 8200, 6.
_FLOW_MAX = (1 << 20) - 1


@cython.cclass
class Peer:
    """The address of a datagram: `Peer(("192.0.2.1", 53))`, `Peer(("2001:db8::1", 53))`, `Peer("/run/log.sock")`.

    `address` is a tuple as the socket module uses it, its host given by number (no name is looked up); a link-local
    host may have its interface, as in "fe80::1%eth0". For a Unix socket it is a path with a "/" in it, or an abstract
    name, which begins with a zero. Or give the bytes of a sockaddr. Raises `Inval` for any other, and for an interface
    that doesn't exist. Peers of the same address are equal and have the same hash.

    It is the `m.peer` of a packet; packets that arrived in succession from one sender share the object.
    """

    __slots__ = ("name",)

    def __init__(self, address: Any) -> None:
        name = packed(address)
        #: The bytes of the sockaddr.
        self.name: bytes = name

    @property
    def address(self) -> Any:
        """Host and port, and for IPv6 flow label and scope too; for a Unix socket its path, "" if it has none.

        As Python's socket module has them, but for the name of the interface behind a link-local host: see the scope.
        """
        return unpacked(self.name)

    @property
    def family(self) -> int:
        """The family of the address: AF_INET, AF_INET6 or AF_UNIX."""
        name = self.name
        return int.from_bytes(name[:2], sys.byteorder)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Peer):
            return False
        mine: bytes = self.name
        others: bytes = cython.cast(Peer, other).name
        return mine == others

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> Any:
        return Peer, (self.name,)

    def __repr__(self) -> str:
        return f"Peer({self.address!r})"


def peer_of(name: bytes) -> Peer:
    """The peer of a name that the kernel gave."""
    peer: Peer = Peer.__new__(Peer)
    peer.name = name
    return peer


def packed(address: Any) -> bytes:
    """The sockaddr of an address whose host is given by number; a sockaddr of a known family is returned as it is."""
    if isinstance(address, (str, bytes)):
        return _checked(address)
    try:
        host, port, *rest = address
        if ":" in host:
            flow, scope = rest or (0, 0)
            return _packed_in6(host, port, flow, scope)
        if not rest:
            return _family(socket.AF_INET) + _IN.pack(port, socket.inet_pton(socket.AF_INET, host))
    except (TypeError, ValueError, AttributeError, OverflowError, OSError, struct.error):
        pass
    raise Inval(f'peer {address!r}: give ("192.0.2.1", port) or ("2001:db8::1", port), a host by number')


def _packed_in6(host: str, port: int, flow: int, scope: int) -> bytes:
    """A sockaddr_in6. The scope is also the part of the host behind a "%": the name of an interface, or its number."""
    number, percent, zone = host.partition("%")
    if percent:
        index = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
        if scope not in (0, index):
            raise ValueError
        scope = index
    if flow > _FLOW_MAX:
        raise ValueError
    head = _IN6.pack(port, flow, socket.inet_pton(socket.AF_INET6, number))
    return _family(socket.AF_INET6) + head + scope.to_bytes(4, sys.byteorder)


def packed_path(path: str | bytes) -> bytes:
    """The sockaddr of a path, or of a name in the abstract namespace."""
    name = os.fsencode(path)
    # Behind a path there is a zero. See unix(7).
    name = name if not name or name[0] == 0 else name + b"\0"
    if len(name) > _PATH_MAX:
        raise Inval(f"peer {path!r}: give a path of at most {_PATH_MAX - 1} bytes")
    return _family(socket.AF_UNIX) + name


def received_path(path: str | bytes) -> bytes:
    """The sockaddr of a path that the socket module has returned.

    The longest path that a socket can have has no zero behind it, and the module returns other bytes with it.
    """
    name = os.fsencode(path)
    return packed_path(name) if len(name) < _PATH_MAX or name[0] == 0 else _family(socket.AF_UNIX) + name[:_PATH_MAX]


def _checked(address: str | bytes) -> bytes:
    """The sockaddr of a path or an abstract name, or the bytes of a sockaddr."""
    if isinstance(address, str) and ("/" in address or address[:1] == "\0"):
        return packed_path(address)
    if isinstance(address, bytes):
        name = bytes(address)
        if name[:1] == b"\0":
            return packed_path(name)
        unpacked(name)
        return name
    raise Inval(
        f'peer {address!r}: give ("192.0.2.1", port), a host by number, or for a Unix socket a path with a "/" in it'
    )


def unpacked(name: bytes) -> Any:
    """The address of a sockaddr. `Inval` if it is of another family than those of a `Peer`."""
    family = int.from_bytes(name[:2], sys.byteorder)
    if family == socket.AF_INET and len(name) == 2 + _IN.size:
        port, host = _IN.unpack(name[2:])
        return socket.inet_ntop(family, host), port
    if family == socket.AF_INET6 and len(name) == 2 + _IN6.size + 4:
        port, flow, host = _IN6.unpack(name[2:-4])
        return socket.inet_ntop(family, host), port, flow, int.from_bytes(name[-4:], sys.byteorder)
    if family == socket.AF_UNIX and 2 <= len(name) <= 2 + _PATH_MAX:
        path = name[2:]
        # As the socket module: an abstract name is bytes.
        return path if path[:1] == b"\0" else os.fsdecode(path.partition(b"\0")[0])
    raise Inval(f"{name!r} is no sockaddr of a peer: give one of AF_INET, AF_INET6 or AF_UNIX, or an address")


def _family(number: int) -> bytes:
    return int(number).to_bytes(2, sys.byteorder)
