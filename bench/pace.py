"""The rate set in a send tag compared with the rate received: two tags on a UDP socket, and one on a TCP socket.

Packets of 1400 bytes go over loopback for some seconds; another process counts them for each tag.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

from mbuf import Mbuf, Pool, Vm, compiled
from mbuf.net.pacing.pacedsocket import PacedSocket
from mbuf.net.pacing.ratelimit import RateLimit, RateTag

SIZE = 1400
SECONDS = 3.0
RATES = (2_000_000, 8_000_000)
COUNTER = """
import json, socket, sys, time
kind, family = sys.argv[1:]
sock = socket.socket(fileno=int(family))
seen = {}
print("ready", flush=True)
while data := sock.recv(65536 if kind == "udp" else 1400):
    now = time.monotonic()
    first, _, count = seen.get(data[0], (now, now, 0))
    seen[data[0]] = (first, now, count + len(data))
    if data[:4] == b"stop":
        break
print(json.dumps(seen))
"""


def packets(pool: Pool, paced: PacedSocket, tag: RateTag, mark: int) -> list[Mbuf]:
    """As many packets as the queue has room for."""
    room = 256 - tag.query().queue_level
    return [paced.stamp(pool.getcl().append(bytes([mark]) * SIZE), tag) for _ in range(room)]


def run(kind: str, ours: socket.socket, theirs: socket.socket, rates: tuple[int, ...]) -> None:
    """Keep the queues full for some seconds, and print what arrived."""
    ours.setblocking(False)
    command = [sys.executable, "-c", COUNTER, kind, str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True) as counter:
        theirs.close()
        assert counter.stdout is not None
        counter.stdout.readline()
        with Pool(Vm(64 << 20)) as pool, PacedSocket(ours) as paced:
            tags = [pool.snd_tag_alloc(paced, RateLimit(rate)) for rate in rates]
            end = time.monotonic() + SECONDS
            pacing = paced.pacing
            while time.monotonic() < end:
                for mark, tag in enumerate(tags, 1):
                    assert isinstance(tag, RateTag)
                    waiting = packets(pool, paced, tag, mark)
                    taken = paced.push(waiting)
                    pool.free_bulk(waiting[taken:])
                paced.flush_next()
            while paced.flush_next():
                pass
            # Measured while the tag has a rate: without one TCP would send the rest at once.
            if kind == "udp":
                ours.send(b"stop")
            else:
                ours.shutdown(socket.SHUT_WR)
            seen = json.loads(counter.stdout.read())
            for tag in tags:
                tag.rele()
    for mark, rate in enumerate(rates, 1):
        first, last, count = seen[str(mark)]
        got = (count - SIZE) / (last - first)
        print(
            f"{kind} by the {pacing:<8}asked {rate / 1e6:6.2f} MB/s  arrived {got / 1e6:6.2f} MB/s"
            f"  ratio {got / rate:.3f}"
        )


def udp() -> tuple[socket.socket, socket.socket]:
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    theirs.bind(("127.0.0.1", 0))
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    ours.connect(theirs.getsockname())
    return ours, theirs


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return socket.create_connection(listener.getsockname()), listener.accept()[0]


def main() -> None:
    print(f"{'compiled' if compiled() else 'uncompiled'}, packets of {SIZE} bytes over loopback")
    run("udp", *udp(), RATES)
    for rate in RATES:
        run("tcp", *tcp(), (rate,))


if __name__ == "__main__":
    main()
