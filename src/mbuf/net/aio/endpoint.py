"""`create_datagram_endpoint`: the method of asyncio's loops of this name, for a transport that uses a pool.

The socket is made as asyncio makes it: for each pair of a family and a protocol that both addresses have, until one
works.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from mbuf.net.aio.transport import UdpTransport
from mbuf.net.sockets import check_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.pool.pool import Pool

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)

#: A family and a protocol, and for them the local and the remote address.
_Pair = tuple[tuple[int, int], list[Any]]


async def create_datagram_endpoint(
    pool: Pool,
    protocol_factory: Callable[[], _Protocol],
    local_addr: tuple[str | None, int] | str | None = None,
    remote_addr: tuple[str | None, int] | str | None = None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
    sock: socket.socket | None = None,
) -> tuple[UdpTransport, _Protocol]:
    """Make a datagram endpoint in the running loop; return its transport and its protocol.

    The arguments, the transport's methods and the calls of the protocol are those of asyncio's method of this name:
    see there. Datagrams are received and sent in batches through mbufs of `pool`. The protocol gets bytes, which are
    copied, in `datagram_received(data, addr)`; or, if it has a method `mbuf_received(m, addr)`, packets, which belong
    to it and are not copied. If the pool has no mbufs, datagrams wait in the system's buffer, and those to be sent in
    the transport: nothing is lost that isn't counted. `sock` belongs to the transport from then on. Raises what
    asyncio's method raises, `Inval` for a socket of another family, and TypeError if the first argument is no pool.

    With `family=AF_UNIX`, the addresses are paths; a socket that is left at `local_addr` is removed. A Unix socket
    needs a system call for each datagram; one of more than 65,535 bytes is discarded and counted (`truncated`).
    """
    check_pool("create_datagram_endpoint", pool)
    loop = asyncio.get_running_loop()
    remote = None
    given = sock is not None
    if sock is None:
        pairs = await _pairs(loop, local_addr, remote_addr, family, proto, flags)
        sock, remote = _open(pairs, bool(reuse_port), bool(allow_broadcast))
    else:
        _check(
            sock,
            local_addr=local_addr,
            remote_addr=remote_addr,
            family=family,
            proto=proto,
            flags=flags,
            reuse_port=reuse_port,
            allow_broadcast=allow_broadcast,
        )
        sock.setblocking(False)
    connected = loop.create_future()
    try:
        protocol = protocol_factory()
        transport = UdpTransport(loop, pool, sock, protocol, remote, connected)
    except BaseException:
        if not given:
            sock.close()
        raise
    try:
        await connected
    except BaseException:
        transport.abort()
        raise
    return transport, protocol


def _check(sock: socket.socket, **options: Any) -> None:
    """Raise what asyncio raises for a socket that can't be used, and for options beside it."""
    if sock.type != socket.SOCK_DGRAM:
        raise ValueError(f"A datagram socket was expected, got {sock!r}")
    given = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if given:
        raise ValueError(f"socket modifier keyword arguments can not be used when sock is specified. ({given})")


async def _pairs(
    loop: asyncio.AbstractEventLoop, local: Any, remote: Any, family: int, proto: int, flags: int
) -> list[_Pair]:
    """Return the families and protocols for which there are all addresses that were given, with the addresses."""
    if not (local or remote):
        if family == 0:
            raise ValueError("unexpected address family")
        return [((family, proto), [None, None])]
    if family == socket.AF_UNIX:
        return [((family, proto), [_path(local, True), _path(remote, False)])]
    found: dict[tuple[int, int], list[Any]] = {}
    for n, address in enumerate((local, remote)):
        if address is None:
            continue
        if not (isinstance(address, tuple) and len(address) == 2):
            raise TypeError("2-tuple is expected")
        if isinstance(address[1], int) and not 0 <= address[1] <= 0xFFFF:
            # getaddrinfo takes the lower 16 bits.
            raise OverflowError(f"{'bind' if n == 0 else 'connect'}(): port must be 0-65535.")
        infos = _numeric(address, family, proto, flags)
        if infos is None:
            infos = await loop.getaddrinfo(*address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags)
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        for info in infos:
            found.setdefault((info[0], info[2]), [None, None])[n] = info[4]
    pairs = [(key, pair) for key, pair in found.items() if (pair[0] or not local) and (pair[1] or not remote)]
    if not pairs:
        raise ValueError("can not get address information")
    return pairs


def _numeric(address: tuple[Any, Any], family: int, proto: int, flags: int) -> list[Any] | None:
    """Look up an address without a name, which takes no other thread; None if it has a name, or is wrong."""
    flags |= socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        return socket.getaddrinfo(*address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags)
    except (OSError, TypeError, ValueError, OverflowError):
        # The loop's method raises what asyncio raises.
        return None


def _path(address: Any, bound: bool) -> str | None:
    """Check the path of a Unix socket; if it is to be bound, remove the socket of an earlier program there."""
    if address is None:
        return None
    if not isinstance(address, str):
        raise TypeError("string is expected")
    if bound and address and address[0] != "\0":
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(address).st_mode):
                os.remove(address)
    return address


def _open(pairs: list[_Pair], reuse_port: bool, allow_broadcast: bool) -> tuple[socket.socket, Any]:
    """Return a socket for the first pair that works, and the address that it sends to; else raise the first error."""
    errors: list[OSError] = []
    for (family, proto), (local, remote) in pairs:
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM, proto)
            sock.setblocking(False)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if local is not None:
                sock.bind(local)
            if remote is not None and (not allow_broadcast or family == socket.AF_UNIX):
                # A socket that may send to a broadcast address gets answers from others.
                sock.connect(remote)
        except OSError as error:
            if sock is not None:
                sock.close()
            errors.append(error)
        else:
            return sock, remote
    raise errors[0]
