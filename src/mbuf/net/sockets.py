"""Checks of what a caller gives: a pool, a port, a socket.

Each raises an error that begins with the name of the function or class that was called. `never_waiting` calls a socket
that may have a timeout. See `writable` for waiting until a socket accepts bytes.
"""

from __future__ import annotations

import socket
from typing import Any

from mbuf.errors import Inval, NotSupported
from mbuf.pool.pool import Pool
from mbuf.vm.ints import kind_of


def check_pool(caller: str, pool: Any) -> None:
    """Raise TypeError if this isn't a `Pool`."""
    if not isinstance(pool, Pool):
        raise TypeError(f"{caller}: pool: give a Pool, not {kind_of(pool)}")


def check_port(caller: str, port: Any) -> None:
    """Raise TypeError if this isn't a port: a class of the program's own may be one, too."""
    if not (hasattr(port, "pull") and hasattr(port, "push")):
        raise TypeError(f"{caller}: port: give a port, such as a UdpPort, not {kind_of(port)}")


def check_socket(caller: str, sock: Any) -> None:
    """Raise `Inval` if this isn't a `socket.socket`, and `NotSupported` if it is a TLS socket."""
    if not isinstance(sock, socket.socket):
        raise Inval(f"{caller}: give a socket.socket, not {sock!r}")
    if hasattr(sock, "do_handshake"):
        raise NotSupported(
            f"{caller}: a TLS socket encrypts what it sends, and can't use mbufs: "
            "use MbufProtocol with asyncio, or copy: sock.sendall(bytes(m))"
        )


def check_stream_socket(caller: str, sock: Any) -> None:
    """Raise what `check_socket` raises, and `NotSupported` if the type isn't SOCK_STREAM."""
    check_socket(caller, sock)
    if sock.type != socket.SOCK_STREAM:
        raise NotSupported(f"{caller}: give a stream socket, not one of {sock.type!r}")


def check_nonblocking(caller: str, sock: socket.socket) -> None:
    """Raise `Inval` if the socket blocks, or has a timeout."""
    if sock.gettimeout() != 0:
        raise Inval(f"{caller}: the socket blocks: call sock.setblocking(False)")


def peer_name(sock: socket.socket) -> Any:
    """Return the address of the peer of a connected socket, to which it sends everything; None without one."""
    try:
        return sock.getpeername()
    except OSError:
        return None


def never_waiting(sock: Any, method: str, *arguments: Any) -> Any:
    """Call a method of a socket with arguments that have MSG_DONTWAIT; raise BlockingIOError instead of waiting.

    If the socket has a timeout, Python waits before it makes the system call. So another object makes it then.
    """
    if not sock.gettimeout() or sock.fileno() < 0:
        return getattr(sock, method)(*arguments)
    other = socket.socket(sock.family, sock.type, sock.proto, sock.fileno())
    try:
        # The descriptor doesn't block already.
        other.setblocking(False)
        return getattr(other, method)(*arguments)
    finally:
        other.detach()
