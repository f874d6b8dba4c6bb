"""What `UdpPort` and `PacketPort` share: a socket whose messages go in batches, by recvmmsg(2) and sendmmsg(2).

The receive side (`UdpReceiver`) and the send side (`UdpSender`) are compiled, and check the rules of `pull` and `push`
themselves; here are the options of the socket, the counters, and closing.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from mbuf.net.port.port import Port, PortStat
from mbuf.vm.page import compiled

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from mbuf.net.udp.receiver import UdpReceiver
    from mbuf.net.udp.sender import UdpSender
    from mbuf.net.udp.senderrors import SendErrors
    from mbuf.packet.mbuf import Mbuf


class MmsgPort(Port):
    """A port that uses recvmmsg and sendmmsg. A subclass makes `_rx`, `_tx` and `_failures`, and sets `_features`."""

    _rx: UdpReceiver
    _tx: UdpSender
    _failures: SendErrors
    #: The features that don't change.
    _features: Mapping[str, str]

    def __init__(self, sock: socket.socket) -> None:
        #: The socket.
        self.sock = sock
        self._closed = False
        #: The options that were turned on, and their values before: level, option, value.
        self._options: list[tuple[int, int, int]] = []

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._closed

    @property
    def features(self) -> Mapping[str, str]:  # type: ignore[override]
        """How the port works at this moment: `receive`, `send`, and what the class adds."""
        batch = compiled()
        receive = "recvmmsg" if batch else "recvmsg"
        send = "sendmmsg" if batch else "sendmsg"
        return MappingProxyType({"receive": receive, "send": send, **self._features})

    def pull(self, n: int) -> list[Mbuf]:
        return self._rx.pull(n)

    @property
    def ready(self) -> int:
        return self._rx.ready()

    def release_buffers(self) -> None:
        if not self._closed:
            self._rx.release_buffers()

    def push(self, packets: list[Mbuf]) -> int:
        return self._tx.push(packets)

    def stat(self) -> PortStat:
        counts, sent = self._rx.counts(), self._tx.counts()
        sent["faults"] += counts["faults"] + self._failures.faults
        seen = counts["dropped_messages"]
        counts["dropped_messages"] = self._dropped(seen)
        # Those that no message has reported yet: as large as the last message that was received.
        counts["dropped"] += max(counts["dropped_messages"] - seen, 0) * self._rx.expected()
        return PortStat(**counts | sent)

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        """Free what is posted, and the packets that were not pulled; then release the socket.

        Raises `Busy` if another thread is pulling or pushing. Calling it again has no effect.
        """
        if self._closed:
            return
        self._rx.close(self._tx.lock)
        self._closed = True
        self._failures.forget()
        self._release_socket()

    def _dropped(self, seen: int) -> int:
        """How many messages the socket has dropped so far, of which received messages have reported `seen`."""
        raise NotImplementedError

    def _release_socket(self) -> None:
        """Give the socket the options back that it had before, unless it is closed."""
        if self.sock.fileno() >= 0:
            for level, option, before in self._options:
                self.sock.setsockopt(level, option, before)
        self._options.clear()

    def _turn_on(self, level: int, option: int, value: int = 1) -> bool:
        """Set an option of the socket, to be set back in the end; false if the system doesn't have it."""
        try:
            before = self.sock.getsockopt(level, option)
            self.sock.setsockopt(level, option, value)
        except OSError:
            return False
        self._options.append((level, option, before))
        return True


def yes(on: bool) -> str:
    """A feature as text."""
    return "yes" if on else "no"
