"""A QUIC server on aioquic: sends each stream's bytes back. All that is new to aioquic's own is the endpoint.

$ pip install aioquic
$ openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout key.pem -out cert.pem
$ python examples/quic_server.py 127.0.0.1:4433 cert.pem key.pem
"""

import asyncio
import contextlib
import sys

from aioquic.asyncio.server import QuicServer
from aioquic.quic.configuration import QuicConfiguration

from mbuf import Pool
from mbuf.net.aio import create_datagram_endpoint


async def echo(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def main(listen, certificate, key):
    host, _, port = listen.rpartition(":")
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["echo"])
    configuration.load_cert_chain(certificate, key)
    tasks = set()

    def start(reader, writer):
        # The loop keeps only weak references to its tasks.
        tasks.add(task := asyncio.ensure_future(echo(reader, writer)))
        task.add_done_callback(tasks.discard)

    with Pool("64M") as pool:
        transport, server = await create_datagram_endpoint(
            pool,
            lambda: QuicServer(configuration=configuration, stream_handler=start),
            local_addr=(host, int(port)),
        )
        print(*transport.get_extra_info("sockname")[:2], flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            await asyncio.sleep(0.1)  # until the clients have heard of it


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
