"""One run of `mbuf serve`: the pool is made, the folder is served until a signal comes, everything is given back.

Tells its caller lines to print. Never prints.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

from mbuf.cli.format import count, size
from mbuf.errors import Inval
from mbuf.http import AccessLogEntry, FileServer
from mbuf.net.address import join_host_port, parse_host_port
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm


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
    if not service.address:
        raise Inval("--address: give one, as 127.0.0.1, or 0.0.0.0 for everybody")
    listener = parse_host_port(join_host_port(service.address, service.port), socket.SOCK_STREAM).listen()
    with listener, Pool(Vm(service.memory)) as pool:
        asyncio.run(_serve(service, listener, pool, say))


async def _serve(service: Service, listener: socket.socket, pool: Pool, say: Callable[[str], object]) -> None:
    """Serve, and tell the totals."""
    tell = None if service.quiet else lambda entry: say(_line(entry))
    try:
        server = FileServer(pool, service.folder, service.patience, service.clients, tell)
    except OSError as error:
        raise Inval(f"{service.folder}: {error.strerror}") from None
    with contextlib.closing(server):
        task = asyncio.create_task(server.serve(listener))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        where = join_host_port(*listener.getsockname()[:2])
        say(f"serving {service.folder} at http://{where}/ with {size(service.memory)} for mbufs; Ctrl-C ends it")
        with contextlib.suppress(asyncio.CancelledError):
            await task
    totals = server.totals
    say(
        f"{count(totals.requests, 'request')} by {count(totals.connections, 'client')}, {totals.failed} failed; "
        f"{size(totals.bytes)} sent, with {count(totals.peak, 'mbuf')} at most; "
        f"{count(totals.waits, 'wait')} for mbufs; {count(pool.out, 'mbuf')} left out"
    )


def _line(entry: AccessLogEntry) -> str:
    error = f" ({entry.error})" if entry.error else ""
    what = f"{entry.method} {entry.target}"
    return f"{entry.peer} {what} {entry.status} {size(entry.bytes)} in {entry.seconds:.3f} s{error}"
