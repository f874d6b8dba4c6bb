"""`mbuf collect`: prints the reports that programs send when they run out of mbufs.

One UDP socket, until SIGINT or SIGTERM. mbuf.net.udp.report sends reports, and puts their parts together.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from mbuf.cli.format import plural, printable
from mbuf.cli.options import SECONDS, TIMES, CommandError
from mbuf.errors import Inval
from mbuf.net.address import join_host_port, parse_host_port
from mbuf.net.udp.report import Collector, Received
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm

#: Bytes for the mbufs of the collector: some hundred datagrams, more than arrive at once.
_MEMORY = 4 << 20

#: Seconds between checks for reports whose missing parts are late.
_CHECK_INTERVAL = 0.5


@click.command()
@click.argument("address", metavar="[ADDRESS]", default="127.0.0.1:5140")
@click.option("--count", type=TIMES, metavar="N", help="End after N reports.  [default: no end]")
@click.option("--seconds", type=SECONDS, help="End after this time.  [default: no end]")
def collect(address: str, count: int | None, seconds: float | None) -> None:
    """Print the reports that arrive at a UDP address, until Ctrl-C.

    ADDRESS is HOST:PORT, or [HOST]:PORT for IPv6; 127.0.0.1:5140 if it is not given.

    A program sends a report when its pool is exhausted, with mbuf.net.udp.report.send(pool, text, sock), which uses
    only the pool's reserve. If parts of a report are missing after 5 seconds, it is printed without them.
    """
    with _listening(address) as sock, Pool(Vm(_MEMORY)) as pool, _stop_socket() as stop:
        collector = Collector(pool, sock)
        click.echo(f"collecting reports at {join_host_port(*sock.getsockname()[:2])}", err=True)
        printed = 0
        for report in _reports(collector, sock, seconds, stop):
            _print(report)
            printed += 1
            if printed == count:
                break
        for report in collector.flush():
            _print(report)
            printed += 1
        invalid = plural(collector.invalid, "invalid datagram")
        click.echo(f"{plural(printed, 'report')}, {invalid}, {collector.dropped} dropped", err=True)


def _reports(
    collector: Collector, sock: socket.socket, seconds: float | None, stop: socket.socket
) -> Iterator[Received]:
    """Yield reports as they arrive, until the time is over or `stop` is readable."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        wait = _CHECK_INTERVAL if end is None else max(min(_CHECK_INTERVAL, end - time.monotonic()), 0)
        ready, _, _ = select.select([sock, stop], [], [], wait)
        if stop in ready:
            return
        if ready:
            yield from collector.receive()
        yield from collector.expire()


def _print(report: Received) -> None:
    """Print a report, below a line with its sender. Anybody may have sent it, so only printable text and tabs pass."""
    missing = f", {plural(report.missing, 'part')} missing" if report.missing else ""
    click.echo(f"--- report from {join_host_port(*report.sender[:2])}{missing}")
    for line in report.text.removesuffix("\n").split("\n"):
        click.echo("\t".join(map(printable, line.split("\t"))))


@contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    """Yield a UDP socket that is bound to an address."""
    try:
        sock = parse_host_port(address, socket.SOCK_DGRAM).listen()
    except Inval as error:
        raise CommandError(str(error)) from None
    with sock:
        sock.setblocking(True)
        yield sock


@contextmanager
def _stop_socket() -> Iterator[socket.socket]:
    """Yield a socket that SIGINT and SIGTERM make readable; they do nothing else."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    reader, writer = socket.socketpair()
    with reader, writer:
        before = [signal.signal(number, lambda *_: writer.send(b"\0")) for number in numbers]
        try:
            yield reader
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
