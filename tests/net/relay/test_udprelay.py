import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mbuf import Inval, Pool
from mbuf.net.address import Address, local_address, parse
from mbuf.net.aio import datagrams
from mbuf.net.relay.udprelay import UdpRelay, runs
from mbuf.net.udp.peer import Peer

Make = Callable[..., Pool]

#: For what has to happen; nothing is waited for that doesn't.
SOON = 30
SIZES = (0, 1, 1472, 9000, 65507)


class Bed:
    """A relay, the socket behind it, and clients."""

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

    async def got(self, sock: socket.socket) -> bytes:
        return await asyncio.get_running_loop().sock_recv(sock, 1 << 16)

    async def served(self) -> tuple[bytes, Peer]:
        """What came to the server, and from whom."""
        data, peer = await asyncio.get_running_loop().sock_recvfrom(self.server, 1 << 16)
        return data, peer

    async def answer(self, data: bytes, peer: Peer) -> None:
        await asyncio.get_running_loop().sock_sendto(self.server, data, peer)


@asynccontextmanager
async def bed(
    pool: Pool, host: str = "127.0.0.1", most: int = 10, idle: float = 1000.0, clock: Callable[[], float] | None = None
) -> AsyncIterator[Bed]:
    near, far = parse(f"udp://{host}:0"), parse(f"udp://{host}:0")
    sock, server = near.listen(), far.listen()
    loop = asyncio.get_running_loop()
    relay = UdpRelay(pool, sock, parse(local_address(server)), most, idle, clock or loop.time)
    at = Bed(relay, parse(local_address(sock)), server)
    try:
        async with asyncio.timeout(SOON):
            yield at
    finally:
        relay.close()
        for one in (sock, server, *at.clients):
            one.close()
        assert (pool.out, relay.stat().open) == (0, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_datagrams_of_all_sizes_go_to_and_fro_as_they_are(make: Make, host: str) -> None:
    async def main() -> None:
        async with bed(make(), host) as at:
            client = at.client()
            for size in SIZES:
                data = os.urandom(size)
                await at.send(client, data)
                found, peer = await at.served()
                assert found == data
                await at.answer(data[::-1], peer)
                assert await at.got(client) == data[::-1]
            stat = at.relay.stat()
            assert (stat.packets, stat.bytes) == (2 * len(SIZES), 2 * sum(SIZES))
            assert (stat.clients, stat.open, stat.denied, stat.dropped) == (1, 1, 0, 0)

    asyncio.run(main())


def test_many_small_ones_arrive_each_by_itself_and_in_order(make: Make) -> None:
    async def main() -> None:
        async with bed(make()) as at:
            client = at.client()
            for turn in range(20):
                datagrams = [b"%d %d" % (turn, n) + bytes(n) for n in range(20)]
                for data in datagrams:
                    await at.send(client, data)
                assert [(await at.served())[0] for _ in datagrams] == datagrams

    asyncio.run(main())


def test_each_client_gets_its_own_answers(make: Make) -> None:
    async def main() -> None:
        async with bed(make()) as at:
            clients = [at.client() for _ in range(5)]
            for n, client in enumerate(clients):
                await at.send(client, b"%d" % n)
            asked = [await at.served() for _ in clients]
            assert len({peer for _, peer in asked}) == len(clients)
            for data, peer in reversed(asked):
                await at.answer(b"to " + data, peer)
            assert [await at.got(client) for client in clients] == [b"to %d" % n for n in range(5)]
            assert at.relay.stat().open == 5

    asyncio.run(main())


def test_of_too_many_clients_the_most_silent_is_forgotten(make: Make) -> None:
    async def main() -> None:
        async with bed(make(), most=2) as at:
            first, second, third = [at.client() for _ in range(3)]
            peers = []
            for client in (first, second, first, third, first):
                await at.send(client, b"x")
                peers.append((await at.served())[1])
            assert peers[0] == peers[2] == peers[4]
            stat = at.relay.stat()
            assert (stat.clients, stat.open, stat.packets) == (3, 2, 5)
            await at.send(second, b"x")
            assert (await at.served())[1] != peers[1]

    asyncio.run(main())


def test_who_is_silent_for_too_long_is_forgotten(make: Make) -> None:
    async def main() -> None:
        now = [0.0]
        async with bed(make(), idle=0.01, clock=lambda: now[0]) as at:
            client = at.client()
            await at.send(client, b"x")
            await at.served()
            assert at.relay.stat().open == 1
            now[0] = 1.0
            while at.relay.stat().open:
                await asyncio.sleep(0.001)
            assert at.relay.stat().packets == 1

    asyncio.run(main())


def test_a_dead_receiver_costs_nothing_but_its_packets(make: Make) -> None:
    async def main() -> None:
        pool = make()
        async with bed(pool) as at:
            client = at.client()
            await at.send(client, b"x")
            await at.served()
            at.server.close()
            for _ in range(50):
                await at.send(client, b"y")
                await asyncio.sleep(0)
            while at.relay.stat().packets + at.relay.stat().dropped < 51:
                await asyncio.sleep(0.001)
            assert at.relay.stat().open == 1

    asyncio.run(main())


def test_a_flood_is_bounded_and_counted(make: Make) -> None:
    async def main() -> None:
        pool = make(mem=1 << 20)
        async with bed(pool) as at:
            client = at.client()
            client.setblocking(True)
            for _ in range(20):
                for _ in range(100):
                    client.send(bytes(1400))
                await asyncio.sleep(0)
                assert pool.vm.used <= pool.vm.pages
            client.setblocking(False)
            # Nobody read them; one that is read now came as it was.
            assert (await at.served())[0] == bytes(1400)
            stat = at.relay.stat()
            assert 0 < stat.packets <= 2000

    asyncio.run(main())


def test_without_memory_nothing_is_read_until_there_is_some(make: Make, few: Callable[..., dict[str, int]]) -> None:
    async def main() -> None:
        pool = make(few(clusters=64, mbufs=200))
        held = pool.getcl_bulk(64)
        async with bed(pool) as at:
            client = at.client()
            await at.send(client, b"x")
            while not at.relay.stat().denied:
                await asyncio.sleep(0.001)
            assert at.relay.stat().packets == 0
            pool.free_bulk(held)
            assert (await at.served())[0] == b"x"

    asyncio.run(main())


def test_closed_without_memory_it_tries_no_more(
    make: Make, few: Callable[..., dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "AGAIN", 0)

    async def main() -> None:
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        pool = make(few(clusters=64, mbufs=200))
        held = pool.getcl_bulk(64)
        async with bed(pool) as at:
            await at.send(at.client(), b"x")
            while not at.relay.stat().denied:
                await asyncio.sleep(0)
            at.relay.close()
            pool.free_bulk(held)
            for _ in range(10):
                await asyncio.sleep(0)
        assert not faults

    asyncio.run(main())


def test_of_many_that_find_no_memory_one_tries_again_at_a_time(
    make: Make, few: Callable[..., dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "AGAIN", 0)

    async def main() -> None:
        pool = make(few(clusters=64, mbufs=200))
        async with bed(pool) as at:
            clients = [at.client() for _ in range(5)]
            for client in clients:
                await at.send(client, b"x")
            peers = [(await at.served())[1] for _ in clients]
            held = pool.getcl_bulk(64)
            for peer in peers:
                at.server.sendto(b"y", peer)
            while (denied := at.relay.stat().denied) < len(clients):
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
                assert at.relay.stat().denied - denied <= 1
                denied = at.relay.stat().denied
            pool.free_bulk(held)
            assert [await at.got(client) for client in clients] == [b"y"] * 5

    asyncio.run(main())


def test_runs_are_of_one_peer_each(make: Make) -> None:
    pool = make()
    a, b = Peer(("127.0.0.1", 1)), Peer(("127.0.0.1", 2))

    def packets(*peers: Peer) -> list[object]:
        found = []
        for peer in peers:
            m = pool.gethdr()
            m.pkthdr.rcvif = peer
            found.append(m)
        return found

    def told(*peers: Peer) -> list[tuple[Peer, int]]:
        some = packets(*peers)
        found = [(peer, len(run)) for peer, run in runs(some)]  # type: ignore[arg-type]
        pool.free_bulk(some)  # type: ignore[arg-type]
        return found

    assert told(a, a, a) == [(a, 3)]
    # A port makes a new name for a peer after another one has sent.
    assert told(a, a, b, Peer(a.name)) == [(a, 2), (b, 1), (a, 1)]


def test_nonsense_is_refused(make: Make) -> None:
    async def main() -> None:
        address = parse("udp://127.0.0.1:0")
        with address.listen() as sock:
            for most, idle in ((0, 1.0), (1, 0.0), (1, float("nan"))):
                with pytest.raises(Inval, match="give 1 or more, and more than 0"):
                    UdpRelay(make(), sock, address, most, idle)

    asyncio.run(main())
