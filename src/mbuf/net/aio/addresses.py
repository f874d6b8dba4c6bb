"""The address tuples of peers, and the peers of address tuples.

asyncio's protocols use tuples; packets have a `Peer`. To convert one into the other takes longer than to receive a
packet, so each is converted once: `ADDRESSES_MAX` of them are kept, and the last one is found without a lookup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.packet.peer import Peer

#: How many addresses are kept. When there are more, all are forgotten: somebody may invent them without end.
ADDRESSES_MAX = 1024


@cython.cclass
class Addresses:
    """Addresses that were used, in both forms; `remote` is the address of what has no peer."""

    __slots__ = ("_address", "_addresses", "_peer", "_peers", "_remote")

    def __init__(self, remote: Any) -> None:
        self._remote = remote
        self._peer: Peer | None = None
        self._address: Any = None
        self._addresses: dict[bytes, Any] = {}
        self._peers: dict[Any, Peer] = {}

    def address_of(self, peer: Peer | None) -> Any:
        """The address of a peer as Python's socket module has it."""
        if peer is None:
            return self._remote
        if peer is self._peer:
            return self._address
        address = self._addresses.get(peer.name)
        if address is None:
            address = peer.address
            self.keep(peer, address)
        else:
            self._peer = peer
            self._address = address
        return address

    def peer_of(self, address: Any) -> Peer | None:
        """The peer of an address, if it is known."""
        if address is self._address and address is not None:
            return self._peer
        # Only types of Python's own: a list can't be looked up.
        known = type(address) is tuple or type(address) is str or type(address) is bytes
        return self._peers.get(address) if known else None

    def keep(self, peer: Peer, address: Any) -> None:
        """Know this address from now on."""
        if len(self._peers) >= ADDRESSES_MAX:
            self._addresses.clear()
            self._peers.clear()
        self._addresses[peer.name] = address
        self._peers[address] = peer
        self._peer = peer
        self._address = address
