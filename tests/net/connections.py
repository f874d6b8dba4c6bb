"""Connections of an `MbufProtocol` that records what it receives."""

import asyncio
import socket
from collections.abc import Callable

from mbuf import Mbuf, Pool, StreamBuffer
from mbuf.net.aio.protocol import MbufProtocol

Small = Callable[..., Pool]


class Recorder(MbufProtocol):
    """Records the bytes and events of a connection; keeps the mbufs if `held` is a list."""

    def __init__(self, pool: Pool, **marks: int) -> None:
        super().__init__(pool, **marks)
        self.got = bytearray()
        self.held: list[Mbuf] | None = None
        self.events: list[object] = []

    def mbuf_received(self, m: Mbuf) -> None:
        self.got += bytes(m)
        if self.held is None:
            m.freem()
        else:
            self.held.append(m)

    def eof_received(self) -> bool | None:
        self.events.append("eof")
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.events.append(type(exc))

    @property
    def lost(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], type)


class Echo(Recorder):
    """Sends back what it receives, and pauses reading while its write buffer is full."""

    def __init__(self, pool: Pool, **marks: int) -> None:
        super().__init__(pool, **marks)
        self.write_buffer.pause, self.write_buffer.resume = self.pause_reading, self.resume_reading

    def mbuf_received(self, m: Mbuf) -> None:
        self.write(m)


class Lines(Recorder):
    """Sends back each line; what it can't handle is delivered again."""

    def __init__(self, pool: Pool, **marks: int) -> None:
        super().__init__(pool, **marks)
        self.buffer = StreamBuffer(limit=1 << 16)
        self.calls = 0

    def mbuf_received(self, m: Mbuf) -> None:
        self.calls += 1
        self.buffer.append(m)
        while (line := self.buffer.take_until(b"\n")) is not None:
            self.write(line)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.buffer.clear()


async def connect(protocol: MbufProtocol) -> socket.socket:
    """Connect a protocol; return the other end, which is non-blocking."""
    near, far = socket.socketpair()
    far.setblocking(False)
    await asyncio.get_running_loop().create_connection(lambda: protocol, sock=near)
    return far


async def recv_bytes(far: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < size:
        piece = await loop.sock_recv(far, 1 << 20)
        if not piece:
            break
        data += piece
    return bytes(data)


async def send(far: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(far, data)
