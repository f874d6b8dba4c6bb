"""`mbuf relay`: datagrams or streams between two addresses, in bounded memory.

One pool for all clients, until SIGINT or SIGTERM. mbuf.net.relay has the relays themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import click

from mbuf.cli.format import plural, size
from mbuf.cli.options import CLIENTS, MEMORY, TIMEOUT, CommandError
from mbuf.cli.statusline import is_terminal, status_line
from mbuf.const import MCLBYTES, MJUM16BYTES, MSIZE, PAGE_SIZE
from mbuf.errors import Inval
from mbuf.kinds import MBUF, OF_SIZE
from mbuf.net.address import Address, local_address, parse
from mbuf.net.relay.stat import RelayStat
from mbuf.net.relay.streamrelay import StreamRelay
from mbuf.net.relay.udprelay import UdpRelay
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm

#: The part of the memory that bytes of streams may occupy. The rest is for the clusters that are being filled.
_STREAM_SHARE = 0.75

#: File descriptors of a client: one on each side, or with UDP a socket and its duplicate (`net/watch.py`). And those of
#: the program itself, with some to spare.
_FDS_PER_CLIENT = 2
_FDS_OF_PROGRAM = 64


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """What to relay, and with how much memory."""

    listen: str
    dest: str
    #: Bytes for mbufs.
    memory: int
    #: Clients at a time.
    clients: int
    #: Seconds after which a silent client of UDP is forgotten, and one of a stream that receives nothing is
    #: disconnected if memory is short.
    timeout: float
    #: Seconds between status lines; None for no status lines.
    interval: float | None


@click.command()
@click.argument("listen", metavar="LISTEN")
@click.argument("dest", metavar="DEST")
@click.option("--memory", type=MEMORY, default="16M", help="Memory for the mbufs of all clients together.")
@click.option("--clients", type=CLIENTS, help="Clients at a time.  [default: 1024 for UDP, else 16384]")
@click.option(
    "--timeout",
    type=TIMEOUT,
    help="UDP: forget a client that is silent for this time. Streams: when memory is short, disconnect a client that "
    "receives nothing for this time.  [default: 60 for UDP, else 15]",
)
@click.option("--interval", type=TIMEOUT, help="Time between status lines.  [default: 1 on a terminal, else no status]")
def relay(
    listen: str, dest: str, memory: float, clients: int | None, timeout: float | None, interval: float | None
) -> None:
    """Relay between LISTEN and DEST, in both directions, until Ctrl-C.

    Addresses are udp://HOST:PORT, tcp://HOST:PORT or unix:PATH.

    UDP: the datagrams of each client are sent to DEST from a socket of its own. Datagrams for which there is no room
    are dropped and counted.

    Streams: if one side receives slowly, the other side is read slowly. The more connections are stalled, the less
    memory each of them may use.
    """
    datagrams = listen.startswith("udp:")
    clients = (1024 if datagrams else 16384) if clients is None else clients
    timeout = (60.0 if datagrams else 15.0) if timeout is None else timeout
    if interval is None and is_terminal(sys.stdout):
        interval = 1.0
    options = RelayOptions(listen, dest, int(memory), clients, timeout, interval)
    try:
        with status_line() as (write, show_status):
            run(options, write, show_status)
    except Inval as error:
        raise CommandError(str(error)) from None


def run(options: RelayOptions, write: Callable[[str], object], show_status: Callable[[str], object]) -> None:
    """Relay until SIGINT or SIGTERM. `write` gets lines to keep, `show_status` each new status line.

    Raises `Inval` if the relay can't be started, and `RuntimeError` if it failed later.
    """
    listen, dest = parse(options.listen), parse(options.dest)
    if listen.stream != dest.stream:
        raise Inval(f"{options.listen} {options.dest}: give udp:// for both, or tcp:// or unix: for both")
    if dest.family != socket.AF_UNIX and dest.sockaddr[1] == 0:
        raise Inval(f"{options.dest}: give the port to send to")
    _raise_fd_limit(_FDS_PER_CLIENT * options.clients + _FDS_OF_PROGRAM)
    sock = listen.listen()
    try:
        with Pool(Vm(options.memory), limits(options.memory)) as pool:
            asyncio.run(_relay(options, listen, dest, sock, pool, write, show_status))
    finally:
        listen.close_listener(sock)


def limits(memory: int) -> dict[str, int | str]:
    """Return limits that let each kind of buffer have all of the memory: only the memory is the bound."""
    return {
        OF_SIZE[MCLBYTES].sysctl: memory // MCLBYTES,
        OF_SIZE[MJUM16BYTES].sysctl: max(memory // MJUM16BYTES, 1),
        MBUF.sysctl: memory // MSIZE,
    }


def _raise_fd_limit(wanted: int) -> None:
    """Let the process open as many file descriptors as it wants, or as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


async def _relay(
    options: RelayOptions,
    listen: Address,
    dest: Address,
    sock: socket.socket,
    pool: Pool,
    write: Callable[[str], object],
    show_status: Callable[[str], object],
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    faults: list[object] = []

    def on_exception(_: object, context: dict[str, object]) -> None:
        faults.append(context.get("exception"))
        stop.set()

    # After an exception in a callback, the state of the relay is unknown, so it ends.
    loop.set_exception_handler(on_exception)
    relay: StreamRelay | UdpRelay
    if listen.stream:
        relay = StreamRelay(pool, sock, dest, int(options.memory * _STREAM_SHARE), options.clients, options.timeout)
    else:
        relay = UdpRelay(pool, sock, dest, options.clients, options.timeout)
    unit = "reads" if listen.stream else "packets"
    with contextlib.closing(relay):
        write(f"relaying {local_address(sock)} to {dest.text} with {size(options.memory)} for mbufs; Ctrl-C ends it")
        throughput = Throughput(relay.stat(), unit)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), options.interval or 1.0)
            if options.interval and not stop.is_set():
                show_status(throughput.status(relay.stat(), pool.vm.used * PAGE_SIZE, options.memory))
        total = relay.stat()
    write(totals(total, unit, pool.vm.peak * PAGE_SIZE))
    write(f"{plural(pool.out, 'mbuf')} leaked")
    for fault in faults:
        raise RuntimeError("the relay ended because of an exception") from cast("BaseException | None", fault)


class Throughput:
    """What a relay does per second, from one call of `status` to the next."""

    def __init__(self, stat: RelayStat, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._unit = unit
        self._clock = clock
        self._before = stat
        self._when = clock()

    def status(self, stat: RelayStat, used: int, memory: int) -> str:
        """Return the status line: the rates since the last call, and how many bytes of the memory are used."""
        when = self._clock()
        seconds = max(when - self._when, 1e-9)
        packets = (stat.packets - self._before.packets) / seconds
        bits = 8 * (stat.bytes - self._before.bytes) / seconds
        self._before, self._when = stat, when
        return (
            f"{si(packets).strip()} {self._unit}/s {si(bits)}bit/s  {size(used)} of {size(memory)}  "
            f"{stat.denied} denied {stat.dropped} dropped  {stat.open} open"
        )


def si(number: float) -> str:
    """`1.81 M`, `20.3 G`: three digits and an SI prefix, ready for the unit to follow."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < 999.5 or prefix == "T":
            return f"{number:.0f} " if not prefix else f"{number:.3g} {prefix}"
        number /= 1000
    raise AssertionError


def totals(stat: RelayStat, unit: str, peak: int) -> str:
    """Return the line for all that a relay did; `peak` is the most memory in use, in bytes."""
    parts = [
        f"{size(stat.bytes)} in {stat.packets} {unit} of {plural(stat.clients, 'client')}, with {size(peak)} at most",
        f"{stat.denied} denied, {stat.dropped} dropped",
    ]
    failures = (
        (stat.refused, "refused by DEST"),
        (stat.failed, "failed"),
        (stat.aborted, "aborted because others had no memory"),
    )
    parts += [f"{number} {what}" for number, what in failures if number]
    return "; ".join(parts)
