"""Names and properties of network interfaces. Reads them by ioctl(2), and changes nothing."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from mbuf.errors import Inval
from mbuf.net.linux import IFNAMSIZ, SIOCGIFMTU


def encode_name(name: str) -> bytes:
    """The bytes of an interface's name. `Inval` for what can't be a name; whether there is one is not checked."""
    if not isinstance(name, str):
        raise Inval(f"interface {name!r}: give its name, as in 'eth0'")
    data = os.fsencode(name)
    if len(data) >= IFNAMSIZ or b"\0" in data:
        raise Inval(f"interface {name!r}: give at most {IFNAMSIZ - 1} bytes, none of them zero")
    return data


def mtu(name: bytes) -> int:
    """The MTU of an interface: bytes of its longest packet, without the header of the link. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, SIOCGIFMTU, struct.pack("16s24x", name))
    size: int = struct.unpack_from("i", request, IFNAMSIZ)[0]
    return size
