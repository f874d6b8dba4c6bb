"""The peer of an address of the socket module, for a transport: host names are looked up, mistakes are raised."""

from __future__ import annotations

import socket
from operator import index
from typing import Any

from mbuf.errors import Inval
from mbuf.packet.peer import Peer, packed_path, peer_of


def find_peer(family: int, address: Any) -> Peer:
    """Return the peer of an address for a socket of this family; a host name is looked up, as the socket module does.

    Raises TypeError, OverflowError or OSError, as `socket.sendto` does.
    """
    if family == socket.AF_UNIX:
        return _find_path(address)
    name = socket.AddressFamily(family).name
    if not isinstance(address, tuple):
        raise TypeError(f"sendto(): {name} address must be tuple, not {type(address).__name__}")
    if len(address) not in ((2,) if family == socket.AF_INET else (2, 3, 4)):
        raise TypeError(f"{name} address must be a pair (host, port)")
    host, port, *rest = address
    if not isinstance(host, (str, bytes, bytearray)):
        raise TypeError(f"str, bytes or bytearray expected, not {type(host).__name__}")
    number = index(port)
    if not 0 <= number <= 0xFFFF:
        raise OverflowError("sendto(): port must be 0-65535.")
    # The two names that the socket module knows by itself. See socket(7) of Python.
    if not host:
        host = "0.0.0.0" if family == socket.AF_INET else "::"
    elif host == "<broadcast>":
        host = "255.255.255.255"
    found = socket.getaddrinfo(host, number, family, socket.SOCK_DGRAM)[0][4]
    return Peer((*found[:2], *(rest or found[2:])) if len(found) == 4 else found)


def _find_path(address: Any) -> Peer:
    """Return the peer of the address of a Unix socket: a path, or a name that begins with a zero."""
    if not isinstance(address, (str, bytes, bytearray)):
        raise TypeError(f"sendto(): a path must be str or bytes, not {type(address).__name__}")
    try:
        return peer_of(packed_path(address if isinstance(address, str) else bytes(address)))
    except Inval:
        raise OSError("AF_UNIX path too long") from None
