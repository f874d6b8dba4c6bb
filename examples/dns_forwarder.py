"""A DNS forwarder: passes queries on to another server, each with an id that can't be guessed, and the answers back.

$ python examples/dns_forwarder.py 127.0.0.1:5353 9.9.9.9:53
$ dig @127.0.0.1 -p 5353 example.org
"""

import asyncio
import contextlib
import secrets
import sys

from mbuf import NoBufs, Pool
from mbuf.net.aio import create_datagram_endpoint

TIMEOUT = 5.0  # seconds until a query is forgotten: its client asks again, or has given up
MOST = 4096  # queries that wait for an answer, so that a flood of them can't fill the memory
HEAD = 12  # bytes of the header of a message, RFC 1035, 4.1.1


def exchange_id(m, number):
    """Give a message another id, and return the one that it had; only the mbuf in front is written to."""
    (before,) = m.unpack("!H")
    m.adj(2)
    m.prepend(2).pack("!H", 0, number)
    return before


class Clients(asyncio.DatagramProtocol):
    """The side where queries come from."""

    def __init__(self):
        self.waiting = {}  # id that the server was sent: address of the client, and its id

    def connection_made(self, transport):
        self.transport = transport

    def mbuf_received(self, m, address):
        with contextlib.suppress(NoBufs):  # as if the query was lost on its way
            if len(m) >= HEAD and len(self.waiting) < MOST:
                while (number := secrets.randbits(16)) in self.waiting:
                    pass
                self.waiting[number] = address, exchange_id(m, number)
                asyncio.get_running_loop().call_later(TIMEOUT, self.waiting.pop, number, None)
                self.server.sendto(m)

    def answer(self, m):
        with contextlib.suppress(NoBufs):
            address, number = self.waiting.pop(m.unpack("!H")[0], (None, 0)) if len(m) >= HEAD else (None, 0)
            if address is not None:
                exchange_id(m, number)
                self.transport.sendto(m, address)


class Server(asyncio.DatagramProtocol):
    """The side where they go to."""

    def __init__(self, clients):
        self.clients = clients

    def mbuf_received(self, m, address):
        self.clients.answer(m)  # the socket is connected: it is from the server


async def main(listen, upstream):
    with Pool("32M") as pool:
        transport, clients = await create_datagram_endpoint(pool, Clients, listen)
        clients.server, _ = await create_datagram_endpoint(pool, lambda: Server(clients), remote_addr=upstream)
        print(*transport.get_extra_info("sockname")[:2], flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            transport.abort()
            clients.server.abort()
            await asyncio.sleep(0)  # until both are closed


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*((host, int(port)) for host, _, port in (each.rpartition(":") for each in sys.argv[1:]))))
