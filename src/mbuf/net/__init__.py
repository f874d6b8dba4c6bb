"""Packets from and to the world: ports, asyncio, paced sending, files, TLS records, captures and relays.

The main names can be imported from here, as in `from mbuf.net import UdpPort`. Each is loaded when it is first used:
`import mbuf.net` itself loads no other module of this package, and a program that receives datagrams doesn't load
what files or TLS need. The other names are in the modules on their topics.
"""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbuf.net.aio.datagrams import Datagrams
    from mbuf.net.aio.protocol import MbufProtocol
    from mbuf.net.capture.capture import Capture
    from mbuf.net.capture.captureport import CapturePort, CaptureWriter
    from mbuf.net.link.packetport import PacketPort
    from mbuf.net.link.tunport import TunPort
    from mbuf.net.pacing.pacedsocket import PacedSocket
    from mbuf.net.pacing.ratelimit import RateLimit, Unlimited
    from mbuf.net.port.failing import Failing
    from mbuf.net.port.lossy import Lossy
    from mbuf.net.port.port import Port, PortStat
    from mbuf.net.port.queueport import QueuePort
    from mbuf.net.port.tee import Tee
    from mbuf.net.relay.streamrelay import StreamRelay
    from mbuf.net.relay.udprelay import UdpRelay
    from mbuf.net.stream.sendfile import asendfile, sendfile
    from mbuf.net.stream.streamport import StreamPort
    from mbuf.net.tls.session import TlsSession
    from mbuf.net.udp.senderrors import SendError
    from mbuf.net.udp.sendstamps import SendStamp
    from mbuf.net.udp.socketport import SocketPort
    from mbuf.net.udp.udpport import UdpPort
    from mbuf.packet.control import Control
    from mbuf.packet.peer import Peer

__all__ = [
    "Capture",
    "CapturePort",
    "CaptureWriter",
    "Control",
    "Datagrams",
    "Failing",
    "Lossy",
    "MbufProtocol",
    "PacedSocket",
    "PacketPort",
    "Peer",
    "Port",
    "PortStat",
    "QueuePort",
    "RateLimit",
    "SendError",
    "SendStamp",
    "SocketPort",
    "StreamPort",
    "StreamRelay",
    "Tee",
    "TlsSession",
    "TunPort",
    "UdpPort",
    "UdpRelay",
    "Unlimited",
    "asendfile",
    "sendfile",
]

#: The module of each name, relative to this package.
_MODULES = MappingProxyType(
    {
        "Datagrams": "aio.datagrams",
        "MbufProtocol": "aio.protocol",
        "Capture": "capture.capture",
        "CapturePort": "capture.captureport",
        "CaptureWriter": "capture.captureport",
        "PacketPort": "link.packetport",
        "TunPort": "link.tunport",
        "PacedSocket": "pacing.pacedsocket",
        "RateLimit": "pacing.ratelimit",
        "Unlimited": "pacing.ratelimit",
        "Failing": "port.failing",
        "Lossy": "port.lossy",
        "Port": "port.port",
        "PortStat": "port.port",
        "QueuePort": "port.queueport",
        "Tee": "port.tee",
        "StreamRelay": "relay.streamrelay",
        "UdpRelay": "relay.udprelay",
        "asendfile": "stream.sendfile",
        "sendfile": "stream.sendfile",
        "StreamPort": "stream.streamport",
        "TlsSession": "tls.session",
        "Control": ".packet.control",
        "Peer": ".packet.peer",
        "SendError": "udp.senderrors",
        "SendStamp": "udp.sendstamps",
        "SocketPort": "udp.socketport",
        "UdpPort": "udp.udpport",
    }
)

if not TYPE_CHECKING:
    # A type checker takes the names from the imports above; with this function it would accept any name.

    def __getattr__(name):
        """Load a name when it is first used. See PEP 562."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
        # The next use finds it without this function.
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__"})
