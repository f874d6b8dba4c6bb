"""A relay of UDP datagrams of 1,400 bytes over loopback: ports of mbufs compared with others, as ratios of one run.

The sender and the sink are processes of their own, in C. The relays run alternately; the median of the ratios is
printed, or, if other load disturbs, that of the best runs. Without GRO and GSO the relay of ports is compared with a
loop of recv_into and send. With them, where each packet is an mbuf of its own, it is also compared with a loop that
sends each joined message as it is, and with a C program that splits and joins like the port. Then the cost of splitting
alone is measured. Run it on an idle machine: `make bench`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mbuf import MJUM16BYTES, Pool, Vm, compiled
from mbuf.net.linux import SOL_UDP, UDP_GRO, UDP_SEGMENT
from mbuf.net.udp.udpport import UdpPort

SIZE = 1400
SECONDS = 0.5
ROUNDS = 15
#: Packets that a relay pulls at once: three messages of 64 KiB.
BATCH = 138
#: Bytes of a socket buffer: for root as many as a busy relay needs, else what the system allows.
QUEUE = 4 << 20
SO_RCVBUFFORCE = 33


class Run(NamedTuple):
    """Packets that a relay has sent, seconds, packets that arrived, and denied requests of its pool."""

    packets: int
    seconds: float
    denied: int = 0


Relay = Callable[[socket.socket, socket.socket], Run]


def plain(source: socket.socket, target: socket.socket) -> Run:
    """The usual loop."""
    data = bytearray(2048)
    view = memoryview(data)
    count = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for _ in range(64):
            target.send(view[: source.recv_into(data)])
        count += 64
    return Run(count, time.perf_counter() - begin)


def uncut(source: socket.socket, target: socket.socket) -> Run:
    """Twenty lines that send each joined message as it is."""
    source.setsockopt(SOL_UDP, UDP_GRO, 1)
    data = bytearray(65535)
    view = memoryview(data)
    count = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for _ in range(8):
            length, said, _, _ = source.recvmsg_into([data], 64)
            segment = length
            for level, kind, value in said:
                if level == SOL_UDP and kind == UDP_GRO:
                    segment = int.from_bytes(value, sys.byteorder)
            if segment < length:
                target.sendmsg([view[:length]], [(SOL_UDP, UDP_SEGMENT, segment.to_bytes(2, sys.byteorder))])
            else:
                target.send(view[:length])
            count += -(-length // segment)
    return Run(count, time.perf_counter() - begin)


def ported(offload: bool) -> Relay:
    """Through two ports, with or without GRO and GSO."""

    def relay(source: socket.socket, target: socket.socket) -> Run:
        poll = select.poll()
        poll.register(source, select.POLLIN)
        with (
            Pool(Vm(64 << 20)) as pool,
            UdpPort(pool, source, gro=offload, size=2048, drops=offload) as inner,
            UdpPort(pool, target, gso=offload) as outer,
        ):
            begin = time.perf_counter()
            while time.perf_counter() - begin < SECONDS:
                packets = inner.pull(BATCH)
                if not packets:
                    poll.poll(100)
                while packets:
                    outer.push(packets)
            seconds = time.perf_counter() - begin
            return Run(outer.stat().packets_out, seconds, inner.stat().denied)

    return relay


def in_c(program: str) -> Relay:
    """The C program that splits and joins like the port."""

    def relay(source: socket.socket, target: socket.socket) -> Run:
        command = [program, "cut", str(source.fileno()), str(target.fileno()), str(SECONDS)]
        fds = (source.fileno(), target.fileno())
        done = subprocess.run(command, capture_output=True, check=True, text=True, pass_fds=fds)
        count, seconds = done.stdout.split()
        return Run(int(count), float(seconds))

    return relay


def udp() -> socket.socket:
    """A UDP socket with an address on loopback, and a long queue."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, QUEUE)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
    return sock


@contextmanager
def traffic(program: str) -> Iterator[tuple[socket.socket, socket.socket, list[int]]]:
    """Sockets between a process that sends without end and a sink; then the number of bytes that arrived."""
    with udp() as start, udp() as source, udp() as target, udp() as end:
        for one, other in ((start, source), (target, end)):
            one.connect(other.getsockname())
            other.connect(one.getsockname())
        end.setsockopt(SOL_UDP, UDP_GRO, 1)
        sink = subprocess.Popen([program, "sink", str(end.fileno())], stdout=subprocess.PIPE, pass_fds=[end.fileno()])
        sender = subprocess.Popen([program, "send", str(start.fileno()), str(SIZE)], pass_fds=[start.fileno()])
        came: list[int] = []
        try:
            yield source, target, came
        finally:
            sender.terminate()
            sender.wait()
            end_of(sink, target)
            came.append(int(sink.communicate()[0]))


def end_of(sink: subprocess.Popen[bytes], target: socket.socket) -> None:
    """Have the sink read what is left, and stop; it may be blocked."""
    sink.send_signal(signal.SIGTERM)
    target.send(b"")


def measure(program: str, relay: Relay) -> tuple[Run, int]:
    """Run a relay: its result, and how many of its packets arrived."""
    with traffic(program) as (source, target, came):
        run = relay(source, target)
    return run, came[0] // SIZE


def cutting() -> float:
    """Nanoseconds per packet to split a joined message of about 64 KiB, as the port does."""
    many = MJUM16BYTES // SIZE
    with Pool(Vm(64 << 20)) as pool:
        best = float("inf")
        for _ in range(400):
            m = last = pool.getcl().append(bytes(SIZE))
            for _ in range(4):
                last.next = pool.getjcl(flags=0, size=MJUM16BYTES).append(bytes(many * SIZE))
                last = last.next
            m.fixhdr()
            begin = time.perf_counter_ns()
            packets = m.segment(SIZE)
            best = min(best, (time.perf_counter_ns() - begin) / len(packets))
            pool.free_bulk(packets)
        return best


def main() -> None:
    print(f"{'compiled' if compiled() else 'uncompiled'}, Python {sys.version.split()[0]}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as where:
        program = str(Path(where, "relay"))
        source = Path(__file__).with_name("relay.c")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", program, str(source)], check=True)
        relays: dict[str, Relay] = {
            "recv_into, send": plain,
            "joined, passed on uncut": uncut,
            "C, cut and joined": in_c(program),
            "ports, no offload": ported(False),
            "ports, GRO and GSO": ported(True),
        }
        rounds = [{name: measure(program, relay) for name, relay in relays.items()} for _ in range(ROUNDS)]
    for name in relays:
        rates = [runs[name][0].packets / runs[name][0].seconds for runs in rounds]
        lost = sum(runs[name][0].packets - runs[name][1] for runs in rounds)
        denied = sum(runs[name][0].denied for runs in rounds)
        sent = sum(runs[name][0].packets for runs in rounds)
        print(f"{name:<26} {statistics.median(rates):12,.0f} packets/s  lost {lost:,} of {sent:,}  denied {denied}")
    for name, base, wanted in (
        ("ports, GRO and GSO", "recv_into, send", 12),
        ("ports, GRO and GSO", "joined, passed on uncut", 0.8),
        ("ports, GRO and GSO", "C, cut and joined", 0.8),
        ("ports, no offload", "recv_into, send", 1.3),
    ):
        rates = [[runs[one][0].packets / runs[one][0].seconds for runs in rounds] for one in (name, base)]
        ratios = statistics.median(mine / theirs for mine, theirs in zip(*rates, strict=True))
        best = max(rates[0]) / max(rates[1])
        print(f"{name} : {base:<26} {ratios:6.2f}, of the best runs {best:6.2f}  (at least {wanted})")
    print(f"cutting 64 KiB into packets of {SIZE} bytes: {cutting():.0f} ns a packet  (at most 60)")


if __name__ == "__main__":
    main()
