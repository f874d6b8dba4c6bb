"""One run of `mbuf serve`: the pool is made, the folder is served until a signal comes, everything is given back.

Tells its caller lines to print. Never prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mbuf.cli.format import count, size
from mbuf.errors import Inval
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm

if TYPE_CHECKING:
    from mbuf.http.server import Served


@dataclass(frozen=True, slots=True)
class Service:
    """What to serve, where, and with how much."""

    folder: str
    address: str
    port: int
    #: Bytes of memory for mbufs.
    memory: int
    #: Seconds for which a client may do nothing.
    patience: float
    #: Clients at a time.
    clients: int
    quiet: bool


def serve(service: Service, say: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM. Raises `Inval`, before anything is served, if that can't be."""
    address = service.address.removeprefix("[").removesuffix("]")
    if not address:
        raise Inval("--address: give one, as 127.0.0.1, or 0.0.0.0 for everybody")
    try:
        # Of a name with bytes that are no text, the socket would say that it is no text.
        address.encode()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, service.port), family=family, backlog=128)
    except OSError as error:
        why = error.strerror or str(error)
        raise Inval(f"{service.address} port {service.port}: {why.partition(' (while')[0]}") from None
    except UnicodeError:
        raise Inval(f"{service.address} port {service.port}: there can be no such host") from None
    with listener, Pool(Vm(service.memory)) as pool:
        asyncio.run(_serve(service, listener, pool, say))


async def _serve(service: Service, listener: socket.socket, pool: Pool, say: Callable[[str], object]) -> None:
    """Serve, and tell the totals."""
    # Imported here: the other commands work without h11.
    from mbuf.http.server import FileServer

    tell = None if service.quiet else lambda served: say(_line(served))
    try:
        server = FileServer(pool, service.folder, service.patience, service.clients, tell)
    except OSError as error:
        raise Inval(f"{service.folder}: {error.strerror}") from None
    listener.setblocking(False)
    with contextlib.closing(server):
        task = asyncio.create_task(server.serve(listener))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        host, port = listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        say(f"serving {service.folder} at http://{host}:{port}/ with {size(service.memory)} for mbufs; Ctrl-C ends it")
        with contextlib.suppress(asyncio.CancelledError):
            await task
    totals = server.totals
    say(
        f"{count(totals.requests, 'request')} by {count(totals.connections, 'client')}, {totals.broken} broken off; "
        f"{size(totals.bytes)} sent, with {count(totals.peak, 'mbuf')} at most; "
        f"{count(totals.waits, 'wait')} for mbufs; {count(pool.out, 'mbuf')} left out"
    )


def _line(served: Served) -> str:
    fault = f" ({served.fault})" if served.fault else ""
    what = f"{served.method} {served.target}"
    return f"{served.peer} {what} {served.status} {size(served.bytes)} in {served.seconds:.3f} s{fault}"
