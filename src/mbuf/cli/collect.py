"""The command `mbuf collect`: prints the last reports that pools send when memory is out.

Options and standard output; how reports are put together is elsewhere.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from mbuf.cli.format import plain
from mbuf.cli.options import SECONDS, TIMES, Refused
from mbuf.errors import Inval
from mbuf.net.address import join_host_port, parse_host_port
from mbuf.net.udp.report import Collector, Received
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm

#: Memory of the collector: hundreds of datagrams, more than come at once.
MEMORY = 4 << 20
#: How often it looks for reports of which no more will come.
TICK = 0.5


@click.command(short_help="Print the last reports of programs that ran out of mbufs.")
@click.argument("address", metavar="[ADDRESS]", default="127.0.0.1:5140")
@click.option("--count", type=TIMES, help="End after so many reports.  [default: go on]")
@click.option("--seconds", type=SECONDS, help="End after that time.  [default: go on]")
def collect(address: str, count: int | None, seconds: float | None) -> None:
    """Print the reports that come to a UDP address (HOST:PORT, or [HOST]:PORT for IPv6).

    A program sends one with mbuf.net.udp.report.send(pool, text, sock) when its pool is exhausted, out of the
    pool's reserve. A report that lacks parts is printed after 5 seconds with what has come of it.
    """
    with bound(address) as sock, Pool(Vm(MEMORY)) as pool, stopping() as stop:
        collector = Collector(pool, sock)
        click.echo(f"collecting reports at {join_host_port(*sock.getsockname()[:2])}", err=True)
        told = 0
        for report in incoming(collector, sock, seconds, stop):
            show(report)
            told += 1
            if told == count:
                break
        for report in collector.flush():
            show(report)
            told += 1
        click.echo(f"{told} reports, {collector.invalid} strange datagrams, {collector.dropped} dropped", err=True)


def incoming(
    collector: Collector, sock: socket.socket, seconds: float | None, stop: socket.socket
) -> Iterator[Received]:
    """Reports as they come, until the time is over or something comes to `stop`."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        wait = TICK if end is None else max(min(TICK, end - time.monotonic()), 0)
        ready, _, _ = select.select([sock, stop], [], [], wait)
        if stop in ready:
            return
        if ready:
            yield from collector.receive()
        yield from collector.expire()


def show(report: Received) -> None:
    """A report, under a line that says from whom. Anybody may have sent it: a terminal sees plain text."""
    lacks = f", {report.missing} parts missing" if report.missing else ""
    click.echo(f"--- report from {join_host_port(*report.sender[:2])}{lacks}")
    for line in report.text.removesuffix("\n").split("\n"):
        click.echo("\t".join(map(plain, line.split("\t"))))


@contextmanager
def bound(address: str) -> Iterator[socket.socket]:
    """A UDP socket at an address, or one line that says why not."""
    try:
        sock = parse_host_port(address, socket.SOCK_DGRAM).listen()
    except Inval as error:
        raise Refused(str(error)) from None
    with sock:
        sock.setblocking(True)
        yield sock


@contextmanager
def stopping() -> Iterator[socket.socket]:
    """Within it, SIGINT and SIGTERM send a byte to a socket, and do nothing else."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = [signal.signal(number, lambda *_: theirs.send(b"!")) for number in numbers]
        try:
            yield ours
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
