"""A network namespace for the calling thread, and the interfaces in it."""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU = 0x8916, 0x891C, 0x8922
IFF_UP = 1
RTM_DELLINK, RTM_GETLINK = 17, 18
IFLA_PROMISCUITY = 30
NLM_F_REQUEST, NLM_F_ACK = 1, 4


class Unavailable(Exception):
    """The reason why no network namespace can be created here."""


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """Move this thread to a new network namespace, and back at the end. Its only interface is a loopback that is down.

    The kernel deletes the namespace once no socket and no TUN device is left in it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        original = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    except OSError as error:
        raise Unavailable(f"there are no network namespaces: {error}") from None
    try:
        if libc.unshare(CLONE_NEWNET):
            raise Unavailable(f"no network namespace can be created: {os.strerror(ctypes.get_errno())}")
        try:
            disable_ipv6()
            yield
        finally:
            assert libc.setns(original, CLONE_NEWNET) == 0
    finally:
        os.close(original)


def disable_ipv6() -> None:
    """Turn IPv6 off for new interfaces: it sends packets without being asked."""
    try:
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unavailable(f"no permission to turn IPv6 off: {error}") from None


def up(name: str, address: str = "", mtu: int = 0) -> None:
    """Bring an interface up, with an IPv4 address in a /24 network, and an MTU, if they are given."""
    if mtu:
        ioctl(SIOCSIFMTU, name, struct.pack("i", mtu))
    if address:
        ioctl(SIOCSIFADDR, name, sockaddr(address))
        ioctl(SIOCSIFNETMASK, name, sockaddr("255.255.255.0"))
    flags(name, set=IFF_UP)


def down(name: str) -> None:
    """Take an interface down."""
    flags(name, clear=IFF_UP)


def flags(name: str, set: int = 0, clear: int = 0) -> None:
    before = struct.unpack_from("H", ioctl(SIOCGIFFLAGS, name, b""), 16)[0]
    ioctl(SIOCSIFFLAGS, name, struct.pack("H", before & ~clear | set))


def ioctl(number: int, name: str, data: bytes) -> bytes:
    """Call ioctl(2) for an interface, with a struct ifreq; the struct afterwards."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return fcntl.ioctl(sock, number, struct.pack("16s24s", name.encode(), data))


def sockaddr(address: str) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))


def delete(name: str) -> None:
    """Delete an interface, as `ip link delete` does."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        index = socket.if_nametoindex(name)
        head = struct.pack("=IHHII", 32, RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
        sock.send(head + struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0))
        reply = sock.recv(4096)
        assert struct.unpack_from("=i", reply, 16)[0] == 0, "the interface was not deleted"


def promiscuity(name: str) -> int:
    """How many sockets have made an interface promiscuous."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        head = struct.pack("=IHHII", 32, RTM_GETLINK, NLM_F_REQUEST, 1, 0)
        sock.send(head + struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0))
        reply = sock.recv(1 << 16)
    at = 32
    while struct.unpack_from("=H", reply, at + 2)[0] != IFLA_PROMISCUITY:
        at += (struct.unpack_from("=H", reply, at)[0] + 3) & ~3
    count: int = struct.unpack_from("=I", reply, at + 4)[0]
    return count
