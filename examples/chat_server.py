"""A chat server: each line that a client sends goes to all clients. Slow clients lose lines; the others lose none.

$ python examples/chat_server.py 127.0.0.1:6667
$ nc 127.0.0.1 6667
"""

import asyncio
import resource
import sys
from contextlib import suppress

from mbuf import Pool
from mbuf.net.aio import Broadcast, start_server

MOST_LINE = 1000  # bytes


class Chat:
    def __init__(self, pool):
        self.pool = pool
        self.clients = Broadcast()

    def say(self, text):
        """Send a line to all clients."""
        self.clients.send(self.pool.frombytes(text))

    async def client(self, reader, writer):
        """Serve one client until it leaves."""
        self.clients.add(writer)
        name = b"%s:%d" % (writer.get_extra_info("peername")[0].encode(), writer.get_extra_info("peername")[1])
        try:
            async for line in reader:
                if line.rstrip() == b"/quit":
                    break
                self.say(name + b"> " + line.rstrip() + b"\n")
        except (ValueError, ConnectionError):
            pass  # the line is too long, or the client is gone
        finally:
            if lost := self.clients.dropped_for(writer):
                print(f"{name.decode()} was too slow for {lost} lines", flush=True)
            self.clients.discard(writer)
            writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def main(address):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each client takes a descriptor
    pool = Pool("16M")  # bounds what waits for slow clients, however many there are
    chat = Chat(pool)
    host, _, port = address.rpartition(":")
    server = await start_server(pool, chat.client, host, int(port), limit=MOST_LINE, backlog=1024)
    async with server:
        print(*server.sockets[0].getsockname(), flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:6667"))
