"""The addresses of peers: each is converted once, and a bounded number of them is kept."""

import socket

import pytest

from mbuf.net.aio.addresses import Addresses
from mbuf.packet.peer import Peer

#: The same as in the module, where it is a C constant.
ADDRESSES_MAX = 1024

HERE = ("192.0.2.1", 53)


def test_a_peer_has_its_address_and_an_address_its_peer() -> None:
    addresses = Addresses(None)
    peer = Peer(HERE)
    assert addresses.peer_of(HERE) is None
    assert addresses.address_of(peer) == HERE
    assert addresses.peer_of(HERE) is peer
    # A tuple that is equal, but not the same.
    assert addresses.peer_of((*HERE,)) is peer


def test_an_address_is_converted_once() -> None:
    addresses = Addresses(None)
    first, second = Peer(HERE), Peer(("192.0.2.2", 53))
    kept = addresses.address_of(first)
    assert addresses.address_of(first) is kept
    addresses.address_of(second)
    assert addresses.address_of(first) is kept
    assert addresses.address_of(Peer(HERE)) is kept


def test_what_has_no_peer_came_from_the_remote_address() -> None:
    assert Addresses(None).address_of(None) is None
    assert Addresses(HERE).address_of(None) is HERE
    assert Addresses(HERE).peer_of(None) is None
    assert Addresses(HERE).peer_of(HERE) is None


@pytest.mark.parametrize("address", [["192.0.2.1", 53], "192.0.2.1", b"", 5, None])
def test_what_is_no_tuple_has_no_peer(address: object) -> None:
    addresses = Addresses(None)
    addresses.address_of(Peer(HERE))
    assert addresses.peer_of(address) is None


def test_an_address_of_ipv6_has_its_scope_and_flow() -> None:
    addresses = Addresses(None)
    peer = Peer(("2001:db8::1", 53))
    assert addresses.address_of(peer) == ("2001:db8::1", 53, 0, 0)
    assert addresses.peer_of(("2001:db8::1", 53)) is None
    assert addresses.peer_of(("2001:db8::1", 53, 0, 0)) is peer
    assert addresses.address_of(Peer(("fe80::1", 53, 0, 1))) == ("fe80::1", 53, 0, 1)


def test_when_there_are_too_many_all_but_the_last_are_forgotten() -> None:
    addresses = Addresses(None)
    made = [Peer((socket.inet_ntoa((n + (10 << 24)).to_bytes(4, "big")), 1)) for n in range(ADDRESSES_MAX + 1)]
    found = [addresses.address_of(peer) for peer in made]
    assert addresses.peer_of((*found[-1],)) is made[-1]
    assert [addresses.peer_of((*address,)) for address in found[:-1]] == [None] * ADDRESSES_MAX
    # They are converted again.
    assert addresses.address_of(made[0]) == found[0]
    assert addresses.address_of(made[0]) is not found[0]


def test_an_address_that_is_kept_is_known() -> None:
    addresses = Addresses(None)
    peer = Peer(HERE)
    addresses.keep(peer, HERE)
    assert addresses.address_of(peer) is HERE
    assert addresses.peer_of(HERE) is peer
