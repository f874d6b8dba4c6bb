"""Datagram endpoints of asyncio, of uvloop and of a pool compared, in CPU time and as ratios of one run.

Echo: a server sends datagrams of 200 bytes back; its client, another process, has 64 outstanding. Measured is the
server's CPU time for each datagram. QUIC, if aioquic is installed: a server sends 100 MB (or the megabytes that are
given) to a client, both with the same endpoint. Measured is the CPU time of both. The same transfer without sockets, in
one process, tells how much of it isn't the transport's.

Each measurement has processes of its own, and kinds alternate; the median is printed. asyncio's transport receives into
256 KiB, which costs two or three times as much if the C library gets them from the system each time; that differs
between runs.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mbuf import Pool, compiled
from mbuf.net.aio import create_datagram_endpoint

SIZE = 200
WINDOW = 64
DATAGRAMS = 100_000
ROUNDS = 5
QUIC_ROUNDS = 3
ANY = ("127.0.0.1", 0)
#: The kinds: name, whether its loop is uvloop's, and whether its endpoint is that of a pool.
KINDS = {"asyncio": (False, False), "uvloop": (True, False), "mbuf": (False, True), "mbuf, uvloop": (True, True)}


def run(kind: str, main: Callable[[Any], Any]) -> None:
    """Run `main(make)` in the loop of a kind; `make` makes endpoints."""
    fast, ours = KINDS[kind]
    factory: Any = None
    if fast:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        pool = Pool(64 << 20)
        runner.run(
            main((lambda *a, **k: create_datagram_endpoint(pool, *a, **k)) if ours else loop.create_datagram_endpoint)
        )


def cpu() -> float:
    """Seconds of CPU time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Echo(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data == b"begin":
            self.before = cpu()
        elif data == b"end":
            self.done.set_result(cpu() - self.before)
        else:
            self.transport.sendto(data, addr)


async def serve_echo(make: Any) -> None:
    transport, protocol = await make(Echo, ANY)
    print(transport.get_extra_info("sockname")[1], flush=True)
    print(await protocol.done, flush=True)
    transport.close()
    await asyncio.sleep(0.01)


def echo(kind: str) -> float:
    """Microseconds of CPU time for a datagram."""
    with start("echo", kind) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        assert server.stdout is not None
        client.connect(("127.0.0.1", int(server.stdout.readline())))
        client.settimeout(10)
        data = bytes(SIZE)
        client.send(b"begin")
        for _ in range(DATAGRAMS // WINDOW):
            for _ in range(WINDOW):
                client.send(data)
            for _ in range(WINDOW):
                client.recv(2048)
        client.send(b"end")
        return float(server.stdout.readline()) / (DATAGRAMS // WINDOW * WINDOW) * 1e6


def start(*arguments: str) -> subprocess.Popen[str]:
    """Run this file in another process."""
    return subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)


def configuration(folder: str, client: bool) -> Any:
    from aioquic.quic.configuration import QuicConfiguration

    made = QuicConfiguration(is_client=client, alpn_protocols=["x"], verify_mode=ssl.CERT_NONE)
    made.max_data = made.max_stream_data = 1 << 24
    if not client:
        made.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    return made


def sender(size: int) -> Any:
    """A handler of streams that sends `size` bytes."""

    async def send(reader: Any, writer: Any) -> None:
        await reader.read()
        for _ in range(size >> 16):
            writer.write(bytes(1 << 16))
            await writer.drain()
        writer.write_eof()

    def handle(reader: Any, writer: Any) -> None:
        handle.task = asyncio.ensure_future(send(reader, writer))  # type: ignore[attr-defined]

    return handle


async def receive(client: Any, size: int) -> None:
    reader, writer = await client.create_stream()
    writer.write_eof()
    got = 0
    while data := await reader.read(1 << 20):
        got += len(data)
    assert got == size >> 16 << 16


async def quic_server(make: Any, folder: str, size: int) -> None:
    from aioquic.asyncio.server import QuicServer

    transport, server = await make(
        lambda: QuicServer(configuration=configuration(folder, False), stream_handler=sender(size)), ANY
    )
    print(transport.get_extra_info("sockname")[1], flush=True)
    before = cpu()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print(cpu() - before, flush=True)
    server.close()
    await asyncio.sleep(0.1)


async def quic_client(make: Any, port: int, size: int) -> None:
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.quic.connection import QuicConnection

    before = cpu()
    connection = QuicConnection(configuration=configuration("", True))
    transport, client = await make(lambda: QuicConnectionProtocol(connection), ANY)
    client.connect(("127.0.0.1", port))
    await client.wait_connected()
    await receive(client, size)
    print(cpu() - before, flush=True)
    client.close()
    await client.wait_closed()
    transport.close()
    await asyncio.sleep(0.01)


def quic(kind: str, folder: str, size: int) -> float:
    """Seconds of CPU time that a transfer takes, of both processes."""
    command = [sys.executable, __file__, "quic-server", kind, folder, str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        with start("quic-client", kind, server.stdout.readline().strip(), str(size)) as client:
            assert client.stdout is not None
            used = float(client.stdout.readline())
        return used + float(server.communicate("\n")[0])


class Wire(asyncio.DatagramTransport):
    """A transport without sockets: what is sent is received by the other protocol in the next callback of the loop."""

    def __init__(self) -> None:
        super().__init__({"sockname": ANY})
        self.queue: list[bytes] = []
        self.other: Any = None

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not self.queue:
            asyncio.get_running_loop().call_soon(self.deliver)
        self.queue.append(data)

    def deliver(self) -> None:
        datagrams, self.queue = self.queue, []
        for data in datagrams:
            self.other.datagram_received(data, ("127.0.0.1", 1))

    def close(self) -> None:
        pass


async def quic_without_sockets(folder: str, size: int) -> None:
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.asyncio.server import QuicServer
    from aioquic.quic.connection import QuicConnection

    before = cpu()
    server = QuicServer(configuration=configuration(folder, False), stream_handler=sender(size))
    client = QuicConnectionProtocol(QuicConnection(configuration=configuration("", True)))
    near, far = Wire(), Wire()
    near.other, far.other = server, client
    client.connection_made(near)
    server.connection_made(far)
    client.connect(("127.0.0.1", 1))
    await client.wait_connected()
    await receive(client, size)
    print(cpu() - before, flush=True)
    os._exit(0)


def write_certificate(folder: str) -> None:
    """Write a certificate and its key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    Path(folder, "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    Path(folder, "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def table(title: str, rows: dict[str, float], unit: str) -> None:
    print(title)
    for kind, value in rows.items():
        print(f"  {kind:14} {value:8.3f} {unit}   {value / rows['asyncio']:.3f} of asyncio", end="")
        print(f"   {value / rows['uvloop']:.3f} of uvloop")


def median(measure: Callable[[str], float], rounds: int) -> dict[str, float]:
    """The median of each kind; the kinds alternate."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind, values in found.items():
            values.append(measure(kind))
    return {kind: statistics.median(values) for kind, values in found.items()}


def main(size: int) -> None:
    print("compiled" if compiled() else "NOT COMPILED: the numbers mean nothing")
    table(f"echo of {SIZE} bytes, {WINDOW} outstanding", median(echo, ROUNDS), "us")
    try:
        import aioquic  # noqa: F401
    except ImportError:
        return
    with tempfile.TemporaryDirectory() as folder:
        write_certificate(folder)
        whole = median(lambda kind: quic(kind, folder, size), QUIC_ROUNDS)
        alone = []
        for _ in range(QUIC_ROUNDS):
            with start("quic-alone", folder, str(size)) as process:
                assert process.stdout is not None
                alone.append(float(process.stdout.readline()))
    table(f"aioquic, {size / 1e6:.0f} MB", whole, "s")
    without = statistics.median(alone)
    print(f"  without sockets {without:7.3f} s")
    table("the transport's part", {kind: value - without for kind, value in whole.items()}, "s")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["echo", kind]:
            run(kind, serve_echo)
        case ["quic-server", kind, folder, size]:
            run(kind, lambda make: quic_server(make, folder, int(size)))
        case ["quic-client", kind, port, size]:
            run(kind, lambda make: quic_client(make, int(port), int(size)))
        case ["quic-alone", folder, size]:
            asyncio.run(quic_without_sockets(folder, int(size)))
        case rest:
            main(int(float(rest[0]) * 1e6) if rest else 100_000_000)
