"""One direction of a relayed connection."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from mbuf import Pool
from mbuf.net.quota import Quota
from mbuf.net.relay.pump import Pump
from mbuf.net.stream.streamport import StreamPort
from net.loops import until


def test_a_writable_sink_that_takes_nothing_is_tried_later(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[bool] = []
    refusing = True

    class Refusing(StreamPort):
        def flush(self) -> bool:
            flushes.append(refusing)
            return False if refusing else super().flush()

    async def main() -> None:
        nonlocal refusing
        client, near = socket.socketpair()
        far, server = socket.socketpair()
        delays: list[Callable[[], object]] = []
        loop = asyncio.get_running_loop()
        with client, near, far, server, StreamPort(pool, near) as source, Refusing(pool, far) as sink:
            pump = Pump(source, sink, Quota(1 << 20, 10, loop.call_later, loop.time), lambda error: None)
            monkeypatch.setattr(loop, "call_later", lambda delay, callback: delays.append(callback))
            pump.resume()
            client.send(b"hello")
            await until(lambda: delays)
            for _ in range(20):
                await asyncio.sleep(0)
            assert (len(flushes), len(delays)) == (2, 1)
            refusing = False
            delays.pop()()
            await until(lambda: pump.bytes)
            assert (server.recv(10), delays) == (b"hello", [])
            pump.stop()
            pump._watch_sink()

    asyncio.run(main())
