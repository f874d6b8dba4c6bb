"""The receive side of an endpoint: calls the protocol once for each datagram.

    deliver(datagrams) -> _waiting -> datagram_received(bytes, address), or mbuf_received(m, address)

The callback may do anything: pause this, close the transport, change its protocol. So before each call the next
datagram is taken out of `_waiting`, and everything else is read again. The datagrams behind a pause stay here, as do
those behind an exception that ends the program. Another exception loses one datagram only, and is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_PKTHDR
from mbuf.net.aio.addresses import Addresses
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.peer import Peer


@cython.cclass
class Delivery:
    """Datagrams on their way to a protocol. `report` is called with what the protocol raises, an `Exception`."""

    __slots__ = ("_addresses", "_at", "_receiver", "_report", "_running", "_waiting", "paused")

    def __init__(self, addresses: Addresses, report: Callable[[Exception], object]) -> None:
        self._addresses = addresses
        self._report: Any = report
        self._waiting: list[Any] = []
        # The number of those that were taken out at the front.
        self._at = 0
        self._running = False
        self._receiver: Any = None
        #: Whether datagrams wait here.
        self.paused = False

    def deliver_to(self, receiver: Callable[[Any, Any], object]) -> None:
        """Call `receiver` with each datagram from now on, and with the address that it came from."""
        self._receiver = receiver

    def deliver(self, datagrams: list[Any]) -> None:
        """Deliver packets, or tuples of bytes and a peer, behind those that wait here. They belong to this."""
        waiting = self._waiting
        if len(waiting):
            waiting.extend(datagrams)
        else:
            self._waiting = waiting = datagrams
        if not self._running:
            self._running = True
            try:
                while self._at < len(waiting) and not self.paused:
                    thing = waiting[self._at]
                    waiting[self._at] = None
                    self._at += 1
                    self._deliver_one(thing)
            finally:
                self._running = False
                del waiting[: self._at]
                self._at = 0

    def waiting(self) -> int:
        """How many datagrams wait here."""
        return len(self._waiting) - self._at

    def discard(self) -> int:
        """Free the datagrams that wait here; how many."""
        waiting = self._waiting
        rest = waiting[self._at :]
        # A call of `deliver` may be running.
        del waiting[self._at :]
        for thing in rest:
            if isinstance(thing, Mbuf):
                thing.freem()
        return len(rest)

    def disconnect(self) -> None:
        """Forget what refers to the transport; nothing is delivered after that."""
        self._receiver = self._report = None

    def _deliver_one(self, thing: Any) -> None:
        peer: Peer | None = None
        data = thing
        if isinstance(thing, Mbuf):
            m: Mbuf = cython.cast(Mbuf, thing)
            if m.bits & M_PKTHDR:
                peer = m.hdr.peer
        else:
            data, peer = thing
        address = self._addresses.address_of(peer)
        try:
            self._receiver(data, address)
        except Exception as error:  # reported as the loop reports what other callbacks raise
            self._report(error)
