"""One run of `mbuf relay`: the pool is made, packets or bytes go to and fro until a signal comes, all is given back.

Tells its caller lines to print. Never prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from mbuf.cli.format import count, size
from mbuf.const import MCLBYTES, MJUM16BYTES, MSIZE, PAGE_SIZE
from mbuf.errors import Inval
from mbuf.kinds import MBUF, OF_SIZE
from mbuf.net.address import Address, local_address, parse
from mbuf.net.relay.stat import RelayStat
from mbuf.net.relay.streamrelay import StreamRelay
from mbuf.net.relay.udprelay import UdpRelay
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm

#: The part of the memory that streams hold; the rest is for mbufs that are only filled, and what doesn't divide.
_HELD = 0.75


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """What to relay, and with how much."""

    listen: str
    dest: str
    #: Bytes of memory for mbufs.
    memory: int
    #: Clients at a time.
    clients: int
    #: Seconds after which a client is forgotten that sends nothing, or cut that takes nothing while memory is short.
    patience: float
    #: Seconds between lines that tell how it goes; None for none.
    interval: float | None


def relay(way: RelayOptions, say: Callable[[str], object], tell: Callable[[str], object]) -> None:
    """Relay until SIGINT or SIGTERM: `say` gets lines to keep, `tell` those that tell how it goes.

    Raises `Inval`, before anything is relayed, if that can't be, and `RuntimeError` if something failed meanwhile.
    """
    listen, dest = parse(way.listen), parse(way.dest)
    if listen.stream != dest.stream:
        raise Inval(f"{way.listen} {way.dest}: datagrams go to udp://, streams to tcp:// or unix:")
    if dest.family != socket.AF_UNIX and dest.sockaddr[1] == 0:
        raise Inval(f"{way.dest}: give the port to send to")
    _descriptors(2 * way.clients + 64)
    sock = listen.listen()
    try:
        with Pool(Vm(way.memory), limits(way.memory)) as pool:
            asyncio.run(_relay(way, listen, dest, sock, pool, say, tell))
    finally:
        listen.close_listener(sock)


def limits(memory: int) -> dict[str, int | str]:
    """Limits that let each kind of buffer have all of the memory: what bounds is the memory itself."""
    return {
        OF_SIZE[MCLBYTES].sysctl: memory // MCLBYTES,
        OF_SIZE[MJUM16BYTES].sysctl: max(memory // MJUM16BYTES, 1),
        MBUF.sysctl: memory // MSIZE,
    }


def _descriptors(wanted: int) -> None:
    """Have as many descriptors as are wanted, or as may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _relay(
    way: RelayOptions,
    listen: Address,
    dest: Address,
    sock: socket.socket,
    pool: Pool,
    say: Callable[[str], object],
    tell: Callable[[str], object],
) -> None:
    """Relay, tell how it goes, and say the totals."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    faults: list[object] = []

    def failed(_: object, context: dict[str, object]) -> None:
        faults.append(context.get("exception"))
        stop.set()

    # What goes wrong in a callback ends all: nobody knows what state it has left.
    loop.set_exception_handler(failed)
    one: StreamRelay | UdpRelay
    if listen.stream:
        one = StreamRelay(pool, sock, dest, int(way.memory * _HELD), way.clients, way.patience)
    else:
        one = UdpRelay(pool, sock, dest, way.clients, way.patience)
    with contextlib.closing(one):
        say(f"relaying {local_address(sock)} to {dest.text} with {size(way.memory)} for mbufs; Ctrl-C ends it")
        pace = Pace(one.stat(), "packets" if not listen.stream else "reads")
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), way.interval or 1.0)
            if way.interval and not stop.is_set():
                tell(pace.line(one.stat(), pool.vm.used * PAGE_SIZE, way.memory))
        total = one.stat()
    say(totals(total, pace.thing, pool.vm.peak * PAGE_SIZE))
    say(f"{count(pool.out, 'mbuf')} left out")
    for fault in faults:
        raise RuntimeError("the relay ended itself") from cast("BaseException | None", fault)


class Pace:
    """How it goes: from one look to the next, in a line."""

    def __init__(self, now: RelayStat, thing: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.thing = thing
        self._clock = clock
        self._before = now
        self._when = clock()

    def line(self, now: RelayStat, held: int, memory: int) -> str:
        """What was done since the last line, and how much memory is held of how much."""
        when = self._clock()
        seconds = max(when - self._when, 1e-9)
        packets = (now.packets - self._before.packets) / seconds
        bits = 8 * (now.bytes - self._before.bytes) / seconds
        self._before, self._when = now, when
        return (
            f"{rate(packets).strip()} {self.thing}/s {rate(bits)}bit/s  {size(held)} of {size(memory)}  "
            f"{now.denied} denied {now.dropped} dropped  {now.open} open"
        )


def rate(number: float) -> str:
    """`1.81 M`, `20.3 G`: three digits and a unit, with a space between."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5 or unit == "T":
            return f"{number:.0f} " if not unit else f"{number:.3g} {unit}"
        number /= 1000
    raise AssertionError


def totals(stat: RelayStat, thing: str, most: int) -> str:
    """All that a relay did."""
    parts = [
        f"{size(stat.bytes)} in {stat.packets} {thing} of {count(stat.clients, 'client')}, with {size(most)} at most",
        f"{stat.denied} denied, {stat.dropped} dropped",
    ]
    ended = ((stat.refused, "refused"), (stat.failed, "failed"), (stat.aborted, "aborted because others had no memory"))
    parts += [f"{number} {what}" for number, what in ended if number]
    return "; ".join(parts)
