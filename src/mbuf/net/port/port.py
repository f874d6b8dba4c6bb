"""The interface of a port: something that packets come from and go to.

`pull` returns packets that have arrived, `push` sends packets, each as many as possible at the moment; neither waits.
A packet is always accounted for: it was returned, was sent, is counted as lost, or still belongs to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from mbuf.fielddocs import documented

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from mbuf.packet.mbuf import Mbuf

#: The `features` of a port that has none.
NO_FEATURES: Mapping[str, str] = MappingProxyType({})


@documented
@dataclass(frozen=True, slots=True)
class PortStat:
    """The counters of a port, from `port.stat()`. Each counts from 0 since the port was made."""

    #: Packets that `pull` returned, or has ready.
    packets_in: int = 0
    #: Bytes of those packets.
    bytes_in: int = 0
    #: Packets that `push` sent.
    packets_out: int = 0
    #: Bytes of those packets.
    bytes_out: int = 0
    #: Received packets that were lost because the pool refused the mbufs for them.
    denied: int = 0
    #: Times that the port received fewer packets, or none, because the pool refused mbufs. Nothing was lost.
    short: int = 0
    #: Packets that were lost before the port could receive them, because the queue of the socket was full. Exact if no
    #: packets were joined. If the system joined them (GRO), it counts a message of many packets once: then this is an
    #: estimate, with the message that the port received before or after the drop as the example.
    dropped: int = 0
    #: Messages that were lost so: at least this number of packets. Always exact.
    dropped_messages: int = 0
    #: Received packets that were longer than `size`, or the room for them. They were discarded.
    truncated: int = 0
    #: Packets that the port had received, and freed when it was closed, because no `pull` had returned them. They are
    #: not in `packets_in` any more.
    discarded: int = 0
    #: Packets that the system refused to send, and that the program was told of: see `on_error`. They were freed.
    errors: int = 0
    #: Errors of packets that had been sent, such as ECONNREFUSED, which the system told later: see `on_error`.
    faults: int = 0
    #: System calls that received packets, or tried to.
    calls_in: int = 0
    #: System calls that sent packets, or tried to.
    calls_out: int = 0


class Port:
    """Base class of all ports. A class of your own that has these methods is a port too.

    Close a port with `close`, or use it in a `with` statement. One thread may pull while another pushes.
    """

    #: How the port works: which features of the system it uses, and what it uses in their place.
    features: Mapping[str, str] = NO_FEATURES

    def pull(self, n: int) -> list[Mbuf]:
        """Return at most `n` packets that have arrived, in order; an empty list if there are none. Never waits.

        The packets belong to the caller. If the pool refuses mbufs, fewer packets are returned, and `stat().short`
        counts that. Raises `Inval` if the port is closed or `n` is negative, `Busy` if another thread is pulling,
        OSError if the system can't receive any more.
        """
        raise NotImplementedError

    def push(self, packets: list[Mbuf]) -> int:
        """Send packets, from the first on, as many as possible at the moment; return how many. Never waits.

        The sent packets are freed and removed from the list; the others stay in it and belong to the caller. A packet
        that the system refuses for good counts as sent, and in `stat().errors`. Raises TypeError unless `packets` is a
        list, `Inval` if the port is closed or something that can't be sent is in the list, `Freed` for a freed mbuf,
        `Busy` if another thread is pushing, OSError if the system can't send any more; what was sent before is
        removed from the list also then.
        """
        raise NotImplementedError

    def stat(self) -> PortStat:
        """Return the counters as they are now."""
        raise NotImplementedError

    def fileno(self) -> int:
        """Return the descriptor to wait for: readable when packets have arrived, writable when packets can be sent.

        -1 for a port that has none.
        """
        return -1

    @property
    def ready(self) -> int:
        """How many packets have been received and wait for a `pull`. The descriptor isn't readable because of them."""
        return 0

    def release_buffers(self) -> None:
        """Free the mbufs that are posted for packets to come. The next `pull` posts others."""

    def close(self) -> None:
        """Free all mbufs of the port; it can't be used any more. Calling it again has no effect."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{_where(self)}{', closed' if _closed(self) else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _where(port: Port) -> str:
    """What a port is connected to, as far as it has that already: an inner port, an interface, or an address."""
    inner, interface, sock = (getattr(port, name, None) for name in ("port", "interface", "sock"))
    if inner is not None:
        return f" around {inner!r}"
    if interface is not None:
        return f" {interface.name}"
    try:
        return "" if sock is None else f" {sock.getsockname()}"
    except OSError:
        return " of a closed socket"


def _closed(port: Port) -> bool:
    return bool(getattr(port, "closed", False))
