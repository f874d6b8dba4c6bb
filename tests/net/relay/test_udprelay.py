import asyncio
import errno
import gc
import os
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mbuf import Inval, Pool
from mbuf.net.address import Address, local_address, parse
from mbuf.net.aio import datagrams
from mbuf.net.relay import udprelay
from mbuf.net.relay.udprelay import UdpRelay, runs
from mbuf.packet.peer import Peer

Make = Callable[..., Pool]

#: Seconds until a test fails because something expected hasn't happened.
TIMEOUT = 30
SIZES = (0, 1, 1472, 9000, 65507)


class Setup:
    """A relay, the socket of its destination, and clients."""

    def __init__(self, relay: UdpRelay, address: Address, server: socket.socket) -> None:
        self.relay = relay
        self.address = address
        self.server = server
        self.clients: list[socket.socket] = []

    def client(self) -> socket.socket:
        sock = self.address.connect()
        self.clients.append(sock)
        return sock

    async def send(self, sock: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, data)

    async def recv(self, sock: socket.socket) -> bytes:
        return await asyncio.get_running_loop().sock_recv(sock, 1 << 16)

    async def received(self) -> tuple[bytes, Peer]:
        """Return a datagram that the server received, and its sender."""
        data, peer = await asyncio.get_running_loop().sock_recvfrom(self.server, 1 << 16)
        return data, peer

    async def answer(self, data: bytes, peer: Peer) -> None:
        await asyncio.get_running_loop().sock_sendto(self.server, data, peer)


@asynccontextmanager
async def relaying(
    pool: Pool,
    host: str = "127.0.0.1",
    max_clients: int = 10,
    idle_timeout: float = 1000.0,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[Setup]:
    near, far = parse(f"udp://{host}:0"), parse(f"udp://{host}:0")
    sock, server = near.listen(), far.listen()
    loop = asyncio.get_running_loop()
    relay = UdpRelay(pool, sock, parse(local_address(server)), max_clients, idle_timeout, clock or loop.time)
    setup = Setup(relay, parse(local_address(sock)), server)
    try:
        async with asyncio.timeout(TIMEOUT):
            yield setup
    finally:
        relay.close()
        for one in (sock, server, *setup.clients):
            one.close()
        assert (pool.out, relay.stat().open) == (0, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_datagrams_of_all_sizes_are_relayed_unchanged_both_ways(make: Make, host: str) -> None:
    async def main() -> None:
        async with relaying(make(), host) as setup:
            client = setup.client()
            for size in SIZES:
                data = os.urandom(size)
                await setup.send(client, data)
                found, peer = await setup.received()
                assert found == data
                await setup.answer(data[::-1], peer)
                assert await setup.recv(client) == data[::-1]
            stat = setup.relay.stat()
            assert (stat.packets, stat.bytes) == (2 * len(SIZES), 2 * sum(SIZES))
            assert (stat.clients, stat.open, stat.denied, stat.dropped) == (1, 1, 0, 0)

    asyncio.run(main())


def test_many_small_datagrams_arrive_one_by_one_and_in_order(make: Make) -> None:
    async def main() -> None:
        async with relaying(make()) as setup:
            client = setup.client()
            for batch in range(20):
                sent = [b"%d %d" % (batch, n) + bytes(n) for n in range(20)]
                for data in sent:
                    await setup.send(client, data)
                assert [(await setup.received())[0] for _ in sent] == sent

    asyncio.run(main())


def test_each_client_gets_its_own_answers(make: Make) -> None:
    async def main() -> None:
        async with relaying(make()) as setup:
            clients = [setup.client() for _ in range(5)]
            for n, client in enumerate(clients):
                await setup.send(client, b"%d" % n)
            asked = [await setup.received() for _ in clients]
            assert len({peer for _, peer in asked}) == len(clients)
            for data, peer in reversed(asked):
                await setup.answer(b"to " + data, peer)
            assert [await setup.recv(client) for client in clients] == [b"to %d" % n for n in range(5)]
            assert setup.relay.stat().open == 5

    asyncio.run(main())


def test_a_client_too_many_replaces_the_one_that_was_idle_longest(make: Make) -> None:
    async def main() -> None:
        async with relaying(make(), max_clients=2) as setup:
            first, second, third = [setup.client() for _ in range(3)]
            peers = []
            for client in (first, second, first, third, first):
                await setup.send(client, b"x")
                peers.append((await setup.received())[1])
            assert peers[0] == peers[2] == peers[4]
            stat = setup.relay.stat()
            assert (stat.clients, stat.open, stat.packets) == (3, 2, 5)
            await setup.send(second, b"x")
            assert (await setup.received())[1] != peers[1]

    asyncio.run(main())


def test_a_client_that_was_replaced_is_freed_without_a_garbage_collection(make: Make) -> None:
    async def main() -> None:
        async with relaying(make(), max_clients=1) as setup:
            await setup.send(setup.client(), b"x")
            await setup.received()
            (session,) = setup.relay._sessions.values()
            gone = [weakref.ref(session.port), weakref.ref(session.datagrams)]
            del session
            await setup.send(setup.client(), b"x")
            await setup.received()
            assert [one() for one in gone] == [None, None]

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_a_client_is_forgotten_after_the_idle_timeout(make: Make) -> None:
    async def main() -> None:
        now = [0.0]
        async with relaying(make(), idle_timeout=0.01, clock=lambda: now[0]) as setup:
            client = setup.client()
            await setup.send(client, b"x")
            await setup.received()
            assert setup.relay.stat().open == 1
            now[0] = 1.0
            while setup.relay.stat().open:
                await asyncio.sleep(0.001)
            assert setup.relay.stat().packets == 1

    asyncio.run(main())


def test_a_closed_destination_only_loses_datagrams(make: Make) -> None:
    async def main() -> None:
        pool = make()
        async with relaying(pool) as setup:
            client = setup.client()
            await setup.send(client, b"x")
            await setup.received()
            setup.server.close()
            for _ in range(50):
                await setup.send(client, b"y")
                await asyncio.sleep(0)
            while setup.relay.stat().packets + setup.relay.stat().dropped < 51:
                await asyncio.sleep(0.001)
            assert setup.relay.stat().open == 1

    asyncio.run(main())


@pytest.mark.parametrize("what", ["socket", "duplicate"])
def test_without_a_descriptor_for_a_client_its_datagrams_are_dropped(
    make: Make, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        async with relaying(make()) as setup:
            client = setup.client()
            with monkeypatch.context() as patch:
                patch.setattr(*((Address, "connect") if what == "socket" else (udprelay, "Datagrams")), refuse)
                await setup.send(client, b"x")
                while not setup.relay.stat().dropped:
                    await asyncio.sleep(0.001)
            assert setup.relay.stat().open == 0
            await setup.send(client, b"y")
            assert (await setup.received())[0] == b"y"

    asyncio.run(main())


def test_the_memory_of_a_flood_is_bounded(make: Make) -> None:
    async def main() -> None:
        pool = make(mem=1 << 20)
        async with relaying(pool) as setup:
            client = setup.client()
            client.setblocking(True)
            for _ in range(20):
                for _ in range(100):
                    client.send(bytes(1400))
                await asyncio.sleep(0)
                assert pool.vm.used <= pool.vm.pages
            client.setblocking(False)
            # The server has read none so far: those in its queue are unchanged.
            assert (await setup.received())[0] == bytes(1400)
            stat = setup.relay.stat()
            assert 0 < stat.packets <= 2000

    asyncio.run(main())


def test_datagrams_wait_in_the_socket_while_there_is_no_memory(make: Make, few: Callable[..., dict[str, int]]) -> None:
    async def main() -> None:
        pool = make(few(clusters=64, mbufs=200))
        held = pool.getcl_bulk(64)
        async with relaying(pool) as setup:
            client = setup.client()
            await setup.send(client, b"x")
            while not setup.relay.stat().denied:
                await asyncio.sleep(0.001)
            assert setup.relay.stat().packets == 0
            pool.free_bulk(held)
            assert (await setup.received())[0] == b"x"

    asyncio.run(main())


def test_a_relay_closed_while_it_waits_for_memory_raises_nothing(
    make: Make, few: Callable[..., dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "RETRY_DELAY", 0)

    async def main() -> None:
        errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        pool = make(few(clusters=64, mbufs=200))
        held = pool.getcl_bulk(64)
        async with relaying(pool) as setup:
            await setup.send(setup.client(), b"x")
            while not setup.relay.stat().denied:
                await asyncio.sleep(0)
            setup.relay.close()
            pool.free_bulk(held)
            for _ in range(10):
                await asyncio.sleep(0)
        assert not errors

    asyncio.run(main())


def test_one_socket_at_a_time_tries_again_to_get_memory(
    make: Make, few: Callable[..., dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "RETRY_DELAY", 0)

    async def main() -> None:
        pool = make(few(clusters=64, mbufs=200))
        async with relaying(pool) as setup:
            clients = [setup.client() for _ in range(5)]
            for client in clients:
                await setup.send(client, b"x")
            peers = [(await setup.received())[1] for _ in clients]
            held = pool.getcl_bulk(64)
            for peer in peers:
                setup.server.sendto(b"y", peer)
            while (denied := setup.relay.stat().denied) < len(clients):
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
                assert setup.relay.stat().denied - denied <= 1
                denied = setup.relay.stat().denied
            pool.free_bulk(held)
            assert [await setup.recv(client) for client in clients] == [b"y"] * 5

    asyncio.run(main())


def test_packets_are_grouped_by_peer(make: Make) -> None:
    pool = make()
    a, b = Peer(("127.0.0.1", 1)), Peer(("127.0.0.1", 2))

    def packets(*peers: Peer) -> list[object]:
        found = []
        for peer in peers:
            m = pool.gethdr()
            m.peer = peer
            found.append(m)
        return found

    def grouped(*peers: Peer) -> list[tuple[Peer, int]]:
        some = packets(*peers)
        groups = [(peer, len(run)) for peer, run in runs(some)]  # type: ignore[arg-type]
        pool.free_bulk(some)  # type: ignore[arg-type]
        return groups

    assert grouped(a, a, a) == [(a, 3)]
    # A port makes a new Peer for a sender after another one has sent.
    assert grouped(a, a, b, Peer(a.name)) == [(a, 2), (b, 1), (a, 1)]


@pytest.mark.parametrize(
    ("max_clients", "idle_timeout", "message"),
    [
        (0, 1.0, "max_clients 0: give 1 or more"),
        (1, 0.0, "idle_timeout 0.0: give more than 0 seconds"),
        (1, float("nan"), "idle_timeout nan: give more than 0 seconds"),
    ],
)
def test_bounds_that_are_not_positive_raise_inval(
    make: Make, max_clients: int, idle_timeout: float, message: str
) -> None:
    async def main() -> None:
        address = parse("udp://127.0.0.1:0")
        with address.listen() as sock, pytest.raises(Inval, match=message):
            UdpRelay(make(), sock, address, max_clients, idle_timeout)

    asyncio.run(main())
