"""TLS on a connection that was plain until now, and whose first bytes of TLS may have been read already.

`loop.start_tls` gives the transport another protocol, that of TLS, which has a transport for the program's protocol. It
takes only bytes that the transport reads from then on. What was read before is given to the protocol of TLS here, as if
the transport had read it: after its `connection_made`, and before the transport reads again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from mbuf.net.aio.protocol import MbufProtocol


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
    if transport is None or plain.is_closing():
        raise ConnectionResetError("the connection was lost in the handshake")
    return transport


#: Turns of a loop in which it calls `connection_lost` after the end of a transport, if it does.
_TURNS = 10


def lose_soon(protocol: MbufProtocol, error: Exception | None, turns: int = _TURNS) -> None:
    """Tell a protocol soon that its connection is lost, if the loop doesn't: not every loop does after a handshake."""
    if protocol.transport is None:
        return
    if turns:
        asyncio.get_running_loop().call_soon(lose_soon, protocol, error, turns - 1)
    else:
        protocol.connection_lost(error)


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
