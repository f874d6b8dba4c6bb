"""Network interfaces of Linux: how they are called, and what they tell.

Asks the system, by name; changes nothing.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from mbuf.errors import Inval
from mbuf.net.linux import IFNAMSIZ, SIOCGIFMTU


def checked(name: str) -> bytes:
    """The bytes of an interface's name, which the system has still to find right."""
    if not isinstance(name, str):
        raise Inval(f"interface {name!r}: give its name, as in 'eth0'")
    data = os.fsencode(name)
    if len(data) >= IFNAMSIZ or b"\0" in data:
        raise Inval(f"interface {name!r}: its name may have {IFNAMSIZ - 1} bytes, none of them zero")
    return data


def mtu(name: bytes) -> int:
    """Bytes of the longest packet that an interface sends, without what its link adds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        told = fcntl.ioctl(sock, SIOCGIFMTU, struct.pack("16s24x", name))
    size: int = struct.unpack_from("i", told, IFNAMSIZ)[0]
    return size
