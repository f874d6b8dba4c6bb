"""Bulk data through a relay of one process: asyncio's protocols and streams compared with chains of mbufs.

A source sends and a sink discards, each in a process of its own. The relays run alternately, each in a new process, and
the best run of each is compared. Printed are the throughput, the processor time of the relay, its maximum of memory
above that before the first byte, and the pages that the pool has at the end. Run it on an idle machine: `make bench`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from memory import status_kib

from mbuf import PAGE_SIZE, Mbuf, Pool, SockBuf, Vm, compiled
from mbuf.net.aio.protocol import MbufProtocol
from mbuf.net.stream.streamport import StreamPort

SIZE = 1 << 30
RUNS = 5
HIWAT = 1 << 20

SOURCE = """
import socket, sys
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
c = s.accept()[0]
data, left = bytes(1 << 20), int(sys.argv[1])
while left:
    left -= c.send(data[:left] if left < len(data) else data)
"""
SINK = """
import socket
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
c = s.accept()[0]
got = 0
while n := len(c.recv(1 << 20, socket.MSG_TRUNC)):
    got += n
print(got, flush=True)
"""

Ends = tuple[socket.socket, socket.socket]


async def streams(source: socket.socket, sink: socket.socket, pool: Pool) -> None:
    """asyncio.StreamReader and StreamWriter."""
    reader, from_ = await asyncio.open_connection(sock=source)
    _, writer = await asyncio.open_connection(sock=sink)
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()
    from_.close()


class Pipe(asyncio.Protocol):
    """One side of a relay with asyncio.Protocol."""

    def __init__(self) -> None:
        self.other: Pipe
        self.transport: asyncio.Transport
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.other.transport.close()
        self.lost.set_result(None)


async def protocols(source: socket.socket, sink: socket.socket, pool: Pool) -> None:
    """asyncio.Protocol, with flow control."""
    loop = asyncio.get_running_loop()
    near, far = Pipe(), Pipe()
    near.other, far.other = far, near
    await loop.create_connection(lambda: far, sock=sink)
    await loop.create_connection(lambda: near, sock=source)
    await asyncio.gather(near.lost, far.lost)


class MbufPipe(MbufProtocol):
    """The same with mbufs."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, HIWAT, max_read=HIWAT)
        self.other: MbufPipe
        self.lost = asyncio.get_running_loop().create_future()

    def mbuf_received(self, m: Mbuf) -> None:
        self.other.write(m)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.other.close()
        self.lost.set_result(None)


async def mbuf_protocols(source: socket.socket, sink: socket.socket, pool: Pool) -> None:
    """MbufProtocol."""
    loop = asyncio.get_running_loop()
    near, far = MbufPipe(pool), MbufPipe(pool)
    near.other, far.other = far, near
    far.write_buffer.pause, far.write_buffer.resume = near.pause_reading, near.resume_reading
    await loop.create_connection(lambda: far, sock=sink)
    await loop.create_connection(lambda: near, sock=source)
    await asyncio.gather(near.lost, far.lost)


class Pump:
    """One direction of a relay: two ports, and a buffer between them."""

    def __init__(self, source: StreamPort, sink: StreamPort) -> None:
        self.loop = asyncio.get_running_loop()
        self.source = source
        self.sink = sink
        self.buffer = SockBuf(HIWAT, pause=self.pause, resume=self.resume)
        self.waiting = False
        self.done = self.loop.create_future()
        self.resume()

    def pause(self) -> None:
        self.loop.remove_reader(self.source)

    def resume(self) -> None:
        if not self.source.eof:
            self.loop.add_reader(self.source, self.readable)

    def readable(self) -> None:
        m = self.source.recv(self.buffer.space)
        if m is not None:
            self.buffer.append(m, check_full=False)
        elif self.source.eof:
            self.pause()
        self.writable()
        self.buffer.check_full()

    def writable(self) -> None:
        self.sink.send(self.buffer)
        if bool(self.buffer) != self.waiting:
            self.waiting = not self.waiting
            if self.waiting:
                self.loop.add_writer(self.sink, self.writable)
            else:
                self.loop.remove_writer(self.sink)
        if self.source.eof and not self.buffer:
            self.done.set_result(None)


async def ports(source: socket.socket, sink: socket.socket, pool: Pool) -> None:
    """StreamPort, driven by the loop."""
    pump = Pump(StreamPort(pool, source), StreamPort(pool, sink))
    await pump.done
    for port in (pump.source, pump.sink):
        port.close()
        port.sock.close()


Way = Callable[[socket.socket, socket.socket, Pool], Coroutine[Any, Any, None]]

#: The others are compared with the first.
RELAYS: dict[str, tuple[Way, bool]] = {
    "asyncio streams": (streams, False),
    "asyncio Protocol": (protocols, False),
    "asyncio Protocol, uvloop": (protocols, True),
    "MbufProtocol": (mbuf_protocols, False),
    "MbufProtocol, uvloop": (mbuf_protocols, True),
    "StreamPort": (ports, False),
    "StreamPort, uvloop": (ports, True),
}


def relay(name: str, source: int, sink: int) -> dict[str, float]:
    """Run one relay in this process."""
    relay_main, uv = RELAYS[name]
    factory = None
    if uv:
        import uvloop

        factory = uvloop.new_event_loop
    ends = [socket.create_connection(("127.0.0.1", port)) for port in (source, sink)]
    for end in ends:
        end.setblocking(False)
    with Pool(Vm(1 << 28)) as pool, asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.sleep(0))
        # Reset the maximum of resident memory.
        Path("/proc/self/clear_refs").write_text("5", "ascii")
        idle = status_kib("VmRSS")
        begin, cpu = time.perf_counter(), time.process_time()
        runner.run(relay_main(*ends, pool))
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        pages = pool.vm.used * PAGE_SIZE
        assert pool.out == 0, pool.out
        peak = status_kib("VmHWM")
    return {"seconds": seconds, "cpu": cpu, "rss": (peak - idle) / 1024, "pages": pages / (1 << 20)}


def measure(name: str) -> dict[str, float]:
    """A relay between a source and a sink, each in a process."""
    with (
        subprocess.Popen([sys.executable, "-c", SOURCE, str(SIZE)], stdout=subprocess.PIPE, text=True) as source,
        subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as sink,
    ):
        assert source.stdout is not None
        assert sink.stdout is not None
        ports = [source.stdout.readline().strip(), sink.stdout.readline().strip()]
        done = subprocess.run([sys.executable, __file__, name, *ports], stdout=subprocess.PIPE, check=True)
        assert int(sink.stdout.readline()) == SIZE
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    names = list(RELAYS)
    try:
        import uvloop  # noqa: F401
    except ImportError:
        names = [name for name in names if not RELAYS[name][1]]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(RUNS):
        for name in names:
            runs[name].append(measure(name))
    best = {name: {key: min(run[key] for run in found) for key in found[0]} for name, found in runs.items()}
    first = best[names[0]]
    print(f"{SIZE >> 20} MiB through a relay, best of {RUNS}, {'compiled' if compiled() else 'uncompiled'}")
    print(f"{'':26}{'MiB/s':>8}{'ratio':>7}{'CPU ms':>8}{'ratio':>7}{'RSS MiB':>9}{'pages MiB':>11}")
    for name, b in best.items():
        print(
            f"{name:26}{(SIZE >> 20) / b['seconds']:8.0f}{first['seconds'] / b['seconds']:7.2f}{b['cpu'] * 1000:8.0f}"
            f"{first['cpu'] / b['cpu']:7.2f}{b['rss']:9.1f}{b['pages']:11.2f}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(relay(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
    else:
        main()
