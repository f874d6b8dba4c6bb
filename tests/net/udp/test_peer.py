"""A peer's name is what the kernel has for its address."""

import copy
import pickle
import socket

import pytest

from mbuf import Inval
from mbuf.net.udp.peer import Peer, packed, unpacked


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (("192.0.2.1", 53), ("192.0.2.1", 53)),
        (("0.0.0.0", 0), ("0.0.0.0", 0)),
        (("2001:db8::1", 65535), ("2001:db8::1", 65535, 0, 0)),
        (("fe80::1%eth0", 5, 7, 9), ("fe80::1", 5, 7, 9)),
    ],
)
def test_an_address_is_found_again_in_the_name(address: tuple[object, ...], told: tuple[object, ...]) -> None:
    peer = Peer(address)
    assert peer.address == told
    assert peer == Peer(peer.name) == Peer(told)
    assert hash(peer) == hash(Peer(told))
    assert repr(peer) == f"Peer({told!r})"
    assert unpacked(packed(told)) == told


def test_a_peer_can_be_pickled_and_copied() -> None:
    for peer in (Peer(("192.0.2.1", 53)), Peer(("2001:db8::1", 53, 7, 9))):
        for other in (copy.copy(peer), copy.deepcopy(peer), *(pickle.loads(pickle.dumps(peer, n)) for n in range(6))):
            assert (type(other), other, hash(other)) == (Peer, peer, hash(peer))


def test_peers_differ_by_host_port_and_family() -> None:
    peers = {Peer(("127.0.0.1", 1)), Peer(("127.0.0.1", 2)), Peer(("127.0.0.2", 1)), Peer(("::1", 1))}
    assert len(peers) == 4
    assert Peer(("127.0.0.1", 1)) != ("127.0.0.1", 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_name_is_the_kernels(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as here, socket.socket(family, socket.SOCK_DGRAM) as there:
        here.bind((host, 0))
        there.bind((host, 0))
        there.sendto(b"x", unpacked(packed(here.getsockname())))
        assert here.recvfrom(9)[1] == unpacked(packed(there.getsockname()))


@pytest.mark.parametrize(
    "address", [None, 5, "localhost", ("localhost", 5), ("127.0.0.1",), ("127.0.0.1", 65536), ("::1", -1), (b"", 1)]
)
def test_what_is_no_address_is_refused(address: object) -> None:
    with pytest.raises(Inval, match="a host by number"):
        Peer(address)


@pytest.mark.parametrize("name", [b"", b"\x02\x00", b"\x0a\x00" + bytes(8), b"\xff\xff" + bytes(20)])
def test_a_name_that_is_no_peers_has_no_address(name: bytes) -> None:
    with pytest.raises(Inval, match="no sockaddr of a UDP peer"):
        unpacked(name)
