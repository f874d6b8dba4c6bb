"""Streams with a reader and a writer, and a broadcast, compared with asyncio's. Prints ratios of one run.

 * An echo server of 100-byte lines (`readline`, `write`, `drain`): the processor time of the server for a line, if the
   client sends 1, 64 or 640 lines and waits for their echo. The server is a process of its own.
 * One message to 1,000 connections that keep up: `Broadcast.send`, and `transport.write(bytes)` to each.
 * 1,000 connections, of which 500 read nothing: the resident memory above that with all connected and idle.

Each is run on asyncio and on uvloop, if that is installed. `make bench`.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from memory import status_kib

from mbuf import PAGE_SIZE, Pool, Vm, compiled
from mbuf.net.aio import streams
from mbuf.net.aio.broadcast import Broadcast
from mbuf.net.aio.protocol import MbufProtocol

LINE = b"x" * 99 + b"\n"
RUNS = 3
READERS = 1000
MESSAGE = b"m" * 200
POOL = 64 << 20


def uvloop_too() -> list[str]:
    """The event loops to run on."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return ["asyncio"]
    return ["asyncio", "uvloop"]


def run(loop: str, main: Any) -> Any:
    """Run a coroutine in a new loop."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def echo_server(kind: str) -> None:
    """Echo the lines of one client; print the port, and then the seconds of processor time."""
    done = asyncio.get_running_loop().create_future()

    async def echo(reader: Any, writer: Any) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()
        done.set_result(None)

    if kind == "mbuf":
        server = await streams.start_server(Pool(Vm(POOL)), echo, "127.0.0.1", 0)
    else:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    cpu = time.process_time()
    await done
    print(time.process_time() - cpu, flush=True)


def echo(kind: str, loop: str, window: int, count: int) -> float:
    """Microseconds of the server's processor time for a line."""
    command = [sys.executable, __file__, "echo", kind, loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = ("127.0.0.1", int(server.stdout.readline()))
        with socket.create_connection(address) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data, got = LINE * window, bytearray(window * len(LINE))
            for _ in range(count // window):
                client.sendall(data)
                left = len(data)
                while left:
                    left -= client.recv_into(got)
        return float(server.stdout.readline()) / (count // window * window) * 1e6


async def broadcast(kind: str) -> float:
    """Microseconds for one message to one connection; each message is read before the next one is sent."""
    pool, loop = Pool(Vm(POOL)), asyncio.get_running_loop()
    news = Broadcast()
    transports: list[asyncio.Transport] = []
    far = []
    for _ in range(READERS):
        ours, theirs = socket.socketpair()
        far.append(theirs)
        if kind == "mbuf":
            _, protocol = await loop.create_connection(lambda: MbufProtocol(pool), sock=ours)
            news.add(protocol)
        else:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            transports.append(transport)
    cpu, best = 0.0, float("inf")
    for _ in range(30):
        gc.collect()
        cpu = time.process_time()
        if kind == "mbuf":
            news.send(pool.frombytes(MESSAGE))
        else:
            for transport in transports:
                transport.write(MESSAGE)
        # uvloop sends at the end of an iteration.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        best = min(best, time.process_time() - cpu)
        for sock in far:
            sock.recv(1000)
    for sock in far:
        sock.close()
    return best / READERS * 1e6


READER = """
import selectors, socket, sys
selector, open_, size = selectors.DefaultSelector(), 0, int(sys.argv[3])
socks = []
for n in range(int(sys.argv[2])):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(("127.0.0.1", int(sys.argv[1])))
    socks.append(sock)
    if n % 2:
        selector.register(sock, selectors.EVENT_READ, [0])
        open_ += 1
print("ready", flush=True)
short = 0
while open_:
    for key, _ in selector.select():
        got = len(key.fileobj.recv(65536))
        key.data[0] += got
        if not got:
            selector.unregister(key.fileobj)
            open_ -= 1
            short += key.data[0] != size
print(short, flush=True)
sys.stdin.read()
"""


async def stalled(count: int) -> None:
    """Print the memory of a broadcast to 1,000 connections of which each second one reads nothing."""
    pool, news = Pool(Vm(POOL)), Broadcast()
    writers = []

    async def connected(reader: Any, writer: Any) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        news.add(writer)
        writers.append(writer)
        with suppress(ConnectionError):
            await reader.read()

    server = await streams.start_server(pool, connected, "127.0.0.1", 0, backlog=READERS)
    port = str(server.sockets[0].getsockname()[1])
    size = str(count * len(MESSAGE))
    pipe = subprocess.PIPE
    arguments = ["-c", READER, port, str(READERS), size]
    readers = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
    assert readers.stdout is not None
    assert readers.stdin is not None
    await readers.stdout.readline()
    while len(news) < READERS:
        await asyncio.sleep(0.01)
    idle = status_kib("VmRSS")
    peak = idle
    for _ in range(count):
        news.send(pool.frombytes(MESSAGE))
        await asyncio.sleep(0)
        while any(writer.protocol.write_buffer.cc > 20_000 and not news.dropped_for(writer) for writer in writers):
            await asyncio.sleep(0.001)
            if all(writer.protocol.write_buffer.cc > 20_000 for writer in writers[::2]):
                break
        peak = max(peak, status_kib("VmRSS"))
    for writer in writers:
        if news.dropped_for(writer):
            writer.transport.abort()
        else:
            writer.close()
    short = int(await readers.stdout.readline())
    print(
        f"{READERS} readers, half of them stalled: {(peak - idle) / 1024:.1f} MiB above idle, of them "
        f"{pool.vm.peak * PAGE_SIZE / (1 << 20):.1f} in the pool; {news.dropped} messages dropped, "
        f"{short} healthy readers lost some"
    )
    readers.stdin.close()
    await readers.wait()
    server.close()


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 10_000), hard))
    print(f"{'compiled' if compiled() else 'uncompiled'}, best of {RUNS}")
    for loop in uvloop_too():
        for window, count in ((1, 10_000), (64, 100_000), (640, 200_000)):
            cost = {"asyncio": float("inf"), "mbuf": float("inf")}
            for _ in range(RUNS):
                for kind in cost:
                    cost[kind] = min(cost[kind], echo(kind, loop, window, count))
            ratio = cost["mbuf"] / cost["asyncio"]
            print(
                f"{loop:8} echo of {window:3} lines at a time: {cost['mbuf']:6.2f} us a line, "
                f"asyncio's streams {cost['asyncio']:6.2f}, ratio {ratio:.2f}"
            )
        cost = {kind: min(run(loop, broadcast(kind)) for _ in range(RUNS)) for kind in ("asyncio", "mbuf")}
        print(
            f"{loop:8} broadcast to {READERS}: {cost['mbuf']:.2f} us each, transport.write {cost['asyncio']:.2f}, "
            f"ratio {cost['mbuf'] / cost['asyncio']:.2f}"
        )
        run(loop, stalled(1000))


if __name__ == "__main__":
    if sys.argv[1:2] == ["echo"]:
        run(sys.argv[3], echo_server(sys.argv[2]))
    else:
        main()
