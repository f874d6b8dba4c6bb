"""`mbuf serve`: a static file server in bounded memory.

One pool for all clients, and one listening socket, until SIGINT or SIGTERM. mbuf.http has the server itself.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

import click

from mbuf.cli.format import plural, size
from mbuf.cli.options import CLIENTS, MEMORY, PORT, TIMEOUT, CommandError
from mbuf.cli.statusline import print_line
from mbuf.errors import Inval
from mbuf.http import AccessLogEntry, FileServer, Totals
from mbuf.net.address import join_host_port, parse_host_port
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to serve, where, and with how much memory."""

    folder: str
    address: str
    port: int
    #: Bytes for mbufs.
    memory: int
    #: Seconds after which a client that sends and receives nothing is disconnected.
    timeout: float
    #: Clients at a time.
    clients: int
    quiet: bool


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.option("--address", default="127.0.0.1", help="Address to listen at; 0.0.0.0 or :: for all interfaces.")
@click.option("--port", type=PORT, default=8000, help="Port to listen at; 0 for any free one.")
@click.option("--memory", type=MEMORY, default="16M", help="Memory for the mbufs of all clients together.")
@click.option("--timeout", type=TIMEOUT, default="15", help="Disconnect a client that is idle for this time.")
@click.option("--clients", type=CLIENTS, default=256, help="Clients at a time; more have to wait.")
@click.option("--quiet", is_flag=True, help="Print no line for each request.")
def serve(folder: str, address: str, port: int, memory: float, timeout: float, clients: int, quiet: bool) -> None:
    """Serve the files in DIR over HTTP until Ctrl-C.

    Files are sent with sendfile(2), so their bytes are not copied into the process. All clients together use at most
    --memory for mbufs, however many and however slow they are; when it is used up, requests wait.

    GET and HEAD, byte ranges, conditional requests and keep-alive are supported. For a directory, the answer is its
    index.html, or a list of its files. Links that lead out of DIR are not followed.
    """
    try:
        run(ServeOptions(folder, address, port, int(memory), timeout, clients, quiet), print_line)
    except Inval as error:
        raise CommandError(str(error)) from None


def run(options: ServeOptions, write: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM. Raises `Inval` if the server can't be started."""
    if not options.address:
        raise Inval("--address: give one, for example 127.0.0.1, or 0.0.0.0 for all interfaces")
    listener = parse_host_port(join_host_port(options.address, options.port), socket.SOCK_STREAM).listen()
    with listener, Pool(Vm(options.memory)) as pool:
        asyncio.run(_serve(options, listener, pool, write))


async def _serve(options: ServeOptions, listener: socket.socket, pool: Pool, write: Callable[[str], object]) -> None:
    log = None if options.quiet else lambda entry: write(_log_line(entry))
    try:
        server = FileServer(pool, options.folder, options.timeout, options.clients, log)
    except OSError as error:
        raise Inval(f"{options.folder}: {error.strerror}") from None
    with contextlib.closing(server):
        task = asyncio.create_task(server.serve(listener))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        at = join_host_port(*listener.getsockname()[:2])
        write(f"serving {options.folder} at http://{at}/ with {size(options.memory)} for mbufs; Ctrl-C ends it")
        with contextlib.suppress(asyncio.CancelledError):
            await task
    write(_totals_line(server.totals, pool.out))


def _log_line(entry: AccessLogEntry) -> str:
    error = f" ({entry.error})" if entry.error else ""
    request = f"{entry.method} {entry.target}"
    return f"{entry.peer} {request} {entry.status} {size(entry.bytes)} in {entry.seconds:.3f} s{error}"


def _totals_line(totals: Totals, leaked: int) -> str:
    return (
        f"{plural(totals.requests, 'request')} by {plural(totals.connections, 'client')}, {totals.failed} failed; "
        f"{size(totals.bytes)} sent, with {plural(totals.peak, 'mbuf')} at most; "
        f"{plural(totals.waits, 'wait')} for mbufs; {plural(leaked, 'mbuf')} leaked"
    )
