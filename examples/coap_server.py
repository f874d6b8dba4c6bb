"""A CoAP server on aiocoap: a note that clients read and write, and the time, which they can observe.

aiocoap asks the loop for its endpoint. So the loop gets a `create_datagram_endpoint` that uses a pool: the program
itself is one like any other on aiocoap.

$ pip install aiocoap
$ python examples/coap_server.py 127.0.0.1:5683
$ aiocoap-client coap://127.0.0.1/note
"""

import asyncio
import contextlib
import functools
import sys
import time

from aiocoap import CHANGED, Context, Message
from aiocoap.resource import ObservableResource, Resource, Site

from mbuf import Pool
from mbuf.net.aio import create_datagram_endpoint

PERIOD = 0.2  # seconds between two notifications of the time
LONGEST = 4096  # bytes of a note


class Note(Resource):
    text = b"nothing yet"

    async def render_get(self, request):
        return Message(payload=self.text)

    async def render_put(self, request):
        self.text = request.payload[:LONGEST]
        return Message(code=CHANGED)


class Time(ObservableResource):
    async def notify(self):
        while True:
            await asyncio.sleep(PERIOD)
            self.updated_state()

    async def render_get(self, request):
        return Message(payload=b"%.3f" % time.time())


async def main(listen):
    host, _, port = listen.rpartition(":")
    with Pool("32M") as pool:
        loop = asyncio.get_running_loop()
        loop.create_datagram_endpoint = functools.partial(create_datagram_endpoint, pool)
        site, clock = Site(), Time()
        site.add_resource(["note"], Note())
        site.add_resource(["time"], clock)
        server = await Context.create_server_context(
            site, bind=(host, int(port)), loop=loop, transports=["simplesocketserver"]
        )
        print(host, port, flush=True)
        try:
            await clock.notify()
        finally:
            await server.shutdown()
            await asyncio.sleep(0.05)  # until the endpoint is closed


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
