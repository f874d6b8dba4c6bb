"""Socket addresses as text: udp://HOST:PORT, tcp://HOST:PORT, unix:PATH, and HOST:PORT where the protocol is known.

`parse` and `parse_host_port` return an `Address`, with the host name looked up; it makes sockets, all of which are
non-blocking. `join_host_port` and `local_address` do the reverse. An IPv6 address is written in brackets, [::1]:80, as
in a URI (RFC 3986, 3.2.2). This is the only place where such text is read.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mbuf.errors import Inval

#: Connections that may wait to be accepted (see listen(2)): as many as Linux allows by default.
BACKLOG = 4096

#: The longest path of a Unix socket in bytes: `sun_path`, which ends with a zero byte. See unix(7).
MAX_PATH = 107

_SCHEMES = (("udp://", socket.SOCK_DGRAM), ("tcp://", socket.SOCK_STREAM))


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen at or to connect to. Get one from `parse` or `parse_host_port`."""

    #: The address as it was written, with which each error message begins.
    text: str
    #: AF_INET, AF_INET6 or AF_UNIX.
    family: socket.AddressFamily
    #: SOCK_STREAM or SOCK_DGRAM.
    type: socket.SocketKind
    #: The address as the calls of a socket take it.
    sockaddr: Any

    @property
    def stream(self) -> bool:
        """True for a byte stream (TCP, Unix), False for datagrams (UDP)."""
        return self.type == socket.SOCK_STREAM

    def listen(self) -> socket.socket:
        """Return a new socket that is bound to the address, and listens if it is a stream socket.

        A Unix socket's file is replaced if no program listens at it any more. The socket belongs to the caller, to
        be closed with `close_listener`. Raises `Inval` if the system refuses.
        """
        try:
            sock = self.new_socket()
            try:
                self._bind(sock)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            raise Inval(f"{self.text}: {error.strerror or error}") from None
        return sock

    def _bind(self, sock: socket.socket) -> None:
        if self.family == socket.AF_UNIX:
            _remove_stale(self.sockaddr)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, self.stream)
        sock.bind(self.sockaddr)
        if self.stream:
            sock.listen(BACKLOG)

    def close_listener(self, sock: socket.socket) -> None:
        """Close a socket that `listen` returned, and remove the file of a Unix socket."""
        sock.close()
        if self.family == socket.AF_UNIX:
            with suppress(OSError):
                os.unlink(self.sockaddr)

    def connect(self) -> socket.socket:
        """Return a new socket, connected or still connecting: it is writable when the connection is made or refused.

        The socket belongs to the caller. Raises `OSError` if the system refuses at once.
        """
        sock = self.new_socket()
        try:
            code = sock.connect_ex(self.sockaddr)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        return sock

    def new_socket(self) -> socket.socket:
        """Return a new socket of this family and type, which belongs to the caller. Raises `OSError`."""
        sock = socket.socket(self.family, self.type)
        sock.setblocking(False)
        return sock


def parse(text: str) -> Address:
    """Return the address that `udp://HOST:PORT`, `tcp://HOST:PORT` or `unix:PATH` means.

    Looks the host name up, which may take seconds. Raises `Inval`, with the form to write instead.
    """
    if text.startswith("unix:"):
        return _unix(text)
    for scheme, kind in _SCHEMES:
        if text.startswith(scheme):
            return _inet(text, text.removeprefix(scheme), kind)
    raise Inval(f"{text}: give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH")


def parse_host_port(text: str, type: socket.SocketKind) -> Address:
    """Return the address that `HOST:PORT` means, for a socket of this type: SOCK_DGRAM for UDP, SOCK_STREAM for TCP.

    As `parse` otherwise.
    """
    return _inet(text, text, type)


def join_host_port(host: str, port: int) -> str:
    """Return HOST:PORT, or [HOST]:PORT if the host is an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def local_address(sock: socket.socket) -> str:
    """Return the address that a socket is bound to, as `parse` reads it: with its actual port, if 0 was asked for."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    scheme = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
    return f"{scheme}://{join_host_port(*name[:2])}"


def _unix(text: str) -> Address:
    path = text.removeprefix("unix:")
    if not path or "\0" in path or len(os.fsencode(path)) > MAX_PATH:
        raise Inval(f"{text}: give a path of 1 to {MAX_PATH} bytes")
    return Address(text, socket.AF_UNIX, socket.SOCK_STREAM, path)


def _inet(text: str, host_port: str, kind: socket.SocketKind) -> Address:
    host, colon, port = host_port.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or (":" in bare and bare == host):
        raise Inval(f"{text}: give HOST:PORT, or [HOST]:PORT if the host is an IPv6 address")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise Inval(f"{text}: give a port from 0 to 65535")
    try:
        # The resolver's order: the first address is the best one (RFC 6724).
        family, _, _, _, sockaddr = socket.getaddrinfo(bare, int(port), type=kind)[0]
    except OSError as error:
        raise Inval(f"{text}: {error.strerror}") from None
    except UnicodeError:
        raise Inval(f"{text}: this can't be the name of a host") from None
    return Address(text, family, kind, sockaddr)


def _remove_stale(path: str) -> None:
    """Remove the file of a Unix socket if no program listens at it any more."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)
