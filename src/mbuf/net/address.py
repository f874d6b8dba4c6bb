"""Addresses as people write them: udp://HOST:PORT, tcp://HOST:PORT, unix:PATH; and sockets for them.

Looks names up and makes sockets, all of which don't block. Sees no mbufs.
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

#: Connections that wait to be accepted.
BACKLOG = 4096

_FORMS = "give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH"
_TYPES = (("udp://", socket.SOCK_DGRAM), ("tcp://", socket.SOCK_STREAM))


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, or to send to."""

    text: str
    family: socket.AddressFamily
    type: socket.SocketKind
    sockaddr: Any

    @property
    def stream(self) -> bool:
        """True for bytes without borders, false for datagrams."""
        return self.type == socket.SOCK_STREAM

    def listen(self) -> socket.socket:
        """A socket bound there, and listening if there is something to accept. Raises `Inval` if that can't be."""
        try:
            sock = self.fresh()
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
            _clear(self.sockaddr)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, self.stream)
        sock.bind(self.sockaddr)
        if self.stream:
            sock.listen(BACKLOG)

    def unlisten(self, sock: socket.socket) -> None:
        """Close such a socket; its file goes too, if it has one."""
        sock.close()
        if self.family == socket.AF_UNIX:
            with suppress(OSError):
                os.unlink(self.sockaddr)

    def at(self, sock: socket.socket) -> str:
        """The address of such a socket as text: of port 0, with the port that it has."""
        if self.family == socket.AF_UNIX:
            return self.text
        host, port = sock.getsockname()[:2]
        return f"{self.text.partition(':')[0]}://{f'[{host}]' if ':' in host else host}:{port}"

    def connect(self) -> socket.socket:
        """A socket that is connected there, or about to be: it is writable when that is known.

        Raises `OSError` where it is known at once that there is nobody.
        """
        sock = self.fresh()
        try:
            found = sock.connect_ex(self.sockaddr)
            if found not in (0, errno.EINPROGRESS):
                raise OSError(found, os.strerror(found))
        except BaseException:
            sock.close()
            raise
        return sock

    def fresh(self) -> socket.socket:
        """A socket that can be connected there. Raises `OSError`."""
        sock = socket.socket(self.family, self.type)
        sock.setblocking(False)
        return sock


def parse(text: str) -> Address:
    """The address, with its name looked up. Raises `Inval`, which says what to write instead."""
    if text.startswith("unix:"):
        return _unix(text)
    for prefix, kind in _TYPES:
        if text.startswith(prefix):
            return _inet(text, text.removeprefix(prefix), kind)
    raise Inval(f"{text}: {_FORMS}")


def _unix(text: str) -> Address:
    path = text.removeprefix("unix:")
    if not path or "\0" in path or len(os.fsencode(path)) > 107:
        raise Inval(f"{text}: give a path of 1 to 107 bytes")
    return Address(text, socket.AF_UNIX, socket.SOCK_STREAM, path)


def _inet(text: str, rest: str, kind: socket.SocketKind) -> Address:
    host, colon, port = rest.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or (":" in bare and bare == host):
        raise Inval(f"{text}: {_FORMS}; an IPv6 address in brackets")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise Inval(f"{text}: give a port from 0 to 65535")
    try:
        found = socket.getaddrinfo(bare, int(port), type=kind)
    except OSError as error:
        raise Inval(f"{text}: {error.strerror}") from None
    except UnicodeError:
        raise Inval(f"{text}: there can be no such host") from None
    family, _, _, _, sockaddr = found[0]
    return Address(text, family, kind, sockaddr)


def _clear(path: str) -> None:
    """Remove the file of a Unix socket at which nobody listens any more."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)
