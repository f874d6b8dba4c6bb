"""asyncio: a datagram endpoint for any protocol, streams with a reader and a writer, a protocol of mbufs, and others.

The main names can be imported from here. Each is loaded when it is first used, as those of `mbuf.net` are.
"""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbuf.net.aio.broadcast import Broadcast
    from mbuf.net.aio.datagrams import Datagrams
    from mbuf.net.aio.endpoint import create_datagram_endpoint
    from mbuf.net.aio.protocol import MbufProtocol
    from mbuf.net.aio.reader import StreamReader
    from mbuf.net.aio.streams import open_connection, open_unix_connection, start_server, start_unix_server
    from mbuf.net.aio.transport import UdpTransport
    from mbuf.net.aio.waiting import WaitingPort
    from mbuf.net.aio.writer import StreamWriter

__all__ = [
    "Broadcast",
    "Datagrams",
    "MbufProtocol",
    "StreamReader",
    "StreamWriter",
    "UdpTransport",
    "WaitingPort",
    "create_datagram_endpoint",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
]

#: The module of each name, in this package.
_MODULES = MappingProxyType(
    {
        "Broadcast": "broadcast",
        "Datagrams": "datagrams",
        "create_datagram_endpoint": "endpoint",
        "MbufProtocol": "protocol",
        "StreamReader": "reader",
        "StreamWriter": "writer",
        "open_connection": "streams",
        "open_unix_connection": "streams",
        "start_server": "streams",
        "start_unix_server": "streams",
        "UdpTransport": "transport",
        "WaitingPort": "waiting",
    }
)

if not TYPE_CHECKING:

    def __getattr__(name):
        """Load a name when it is first used. See PEP 562."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
