"""Network interfaces to try things on, in a network namespace that is the calling thread's own."""

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


class Refused(Exception):
    """Why there is no namespace to be had here."""


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """This thread alone sees other interfaces meanwhile, of which there is none but a loopback that is down.

    The namespace goes when nobody has a socket or an interface in it any more.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    except OSError as error:
        raise Refused(f"no network namespaces: {error}") from None
    try:
        if libc.unshare(CLONE_NEWNET):
            raise Refused(f"no network namespace of one's own: {os.strerror(ctypes.get_errno())}")
        try:
            quiet()
            yield
        finally:
            assert libc.setns(home, CLONE_NEWNET) == 0
    finally:
        os.close(home)


def quiet() -> None:
    """Turn IPv6 off, which would send packets of its own accord."""
    try:
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"IPv6 can't be turned off: {error}") from None


def up(name: str, address: str = "", mtu: int = 0) -> None:
    """Bring an interface up, with an address of a network of 256."""
    if mtu:
        ask(SIOCSIFMTU, name, struct.pack("i", mtu))
    if address:
        ask(SIOCSIFADDR, name, sockaddr(address))
        ask(SIOCSIFNETMASK, name, sockaddr("255.255.255.0"))
    flags(name, set=IFF_UP)


def down(name: str) -> None:
    """Take an interface down."""
    flags(name, clear=IFF_UP)


def flags(name: str, set: int = 0, clear: int = 0) -> None:
    before = struct.unpack_from("H", ask(SIOCGIFFLAGS, name, b""), 16)[0]
    ask(SIOCSIFFLAGS, name, struct.pack("H", before & ~clear | set))


def ask(number: int, name: str, data: bytes) -> bytes:
    """An ioctl about an interface."""
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
        answer = sock.recv(4096)
        assert struct.unpack_from("=i", answer, 16)[0] == 0, "the interface was not deleted"


def promiscuity(name: str) -> int:
    """How many want all that is on an interface's link."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        head = struct.pack("=IHHII", 32, RTM_GETLINK, NLM_F_REQUEST, 1, 0)
        sock.send(head + struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0))
        answer = sock.recv(1 << 16)
    at = 32
    while struct.unpack_from("=H", answer, at + 2)[0] != IFLA_PROMISCUITY:
        at += (struct.unpack_from("=H", answer, at)[0] + 3) & ~3
    count: int = struct.unpack_from("=I", answer, at + 4)[0]
    return count
