"""TLS on a connection that was plain until now, and whose first bytes of TLS may have been read already.

`loop.start_tls` gives the transport another protocol, that of TLS, which has a transport for the program's protocol. It
takes only bytes that the transport reads from then on. What was read before is given to the protocol of TLS here, as if
the transport had read it: after its `connection_made`, and before the transport reads again.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast


async def handshake(plain: asyncio.Transport, early: bytes, sslcontext: Any, **kwds: Any) -> asyncio.Transport:
    """Begin TLS on a transport, with bytes that were read before; return the transport of the plain text."""
    loop = asyncio.get_running_loop()
    starting = loop.create_task(loop.start_tls(plain, plain.get_protocol(), sslcontext, **kwds))
    try:
        # The task gives the transport its TLS protocol, and schedules the start of that: what follows comes later.
        await asyncio.sleep(0)
        if early:
            loop.call_soon(_receive, plain, early)
        transport = await starting
    finally:
        starting.cancel()
    if transport is None:
        raise ConnectionResetError("the connection was lost in the handshake")
    return transport


def _receive(transport: asyncio.Transport, data: bytes) -> None:
    """Give bytes to the protocol of a transport, as if the transport had read them."""
    protocol = cast(asyncio.BufferedProtocol, transport.get_protocol())
    left = memoryview(data)
    while left and not transport.is_closing():
        room = memoryview(protocol.get_buffer(len(left)))
        count = min(len(room), len(left))
        room[:count] = left[:count]
        room.release()
        protocol.buffer_updated(count)
        left = left[count:]
