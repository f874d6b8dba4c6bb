"""A peer's name is what the kernel has for its address; `m.peer` is kept with the packet."""

import copy
import gc
import os
import pickle
import socket
import weakref
from pathlib import Path
from typing import Any

import pytest

from interfaces import SndTagInterface
from mbuf import CSUM_SND_TAG, Freed, Inval, Pool
from mbuf.packet.peer import Peer, packed, peer_of, received_path, unpacked

LO = socket.if_nametoindex("lo")
THERE = ("192.0.2.1", 53)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (("192.0.2.1", 53), ("192.0.2.1", 53)),
        (("0.0.0.0", 0), ("0.0.0.0", 0)),
        (["192.0.2.1", 53], ("192.0.2.1", 53)),
        (("2001:db8::1", 65535), ("2001:db8::1", 65535, 0, 0)),
        (("fe80::1", 5, 7, 9), ("fe80::1", 5, 7, 9)),
        (("fe80::1%lo", 5), ("fe80::1", 5, 0, LO)),
        (("fe80::1%lo", 5, 0, LO), ("fe80::1", 5, 0, LO)),
        (("fe80::1%77", 5), ("fe80::1", 5, 0, 77)),
        (("::1", 1, (1 << 20) - 1, (1 << 32) - 1), ("::1", 1, (1 << 20) - 1, (1 << 32) - 1)),
        ("/run/x", "/run/x"),
        ("./" + "x" * 105, "./" + "x" * 105),
        ("\0name", b"\0name"),
        (b"\0name\0", b"\0name\0"),
    ],
)
def test_an_address_is_found_again_in_the_name(address: object, told: Any) -> None:
    peer = Peer(address)
    assert peer.address == told
    assert peer == Peer(peer.name) == Peer(told)
    assert hash(peer) == hash(Peer(told))
    assert repr(peer) == f"Peer({told!r})"
    assert unpacked(packed(told)) == told


def test_peers_differ_by_host_port_and_family() -> None:
    peers = {Peer(("127.0.0.1", 1)), Peer(("127.0.0.1", 2)), Peer(("127.0.0.2", 1)), Peer(("::1", 1)), Peer("/1")}
    assert len(peers) == 5
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
    "address",
    [
        *(None, 5, "", b"", "localhost", "127.0.0.1:53", ("localhost", 5), ("127.0.0.1",), ("127.0.0.1", 65536)),
        *(("::1", -1), (b"", 1), ("127.0.0.1", 1, 0, 0), ("::1", 1, 2), ("::1", 1, 1 << 20, 0), ("::1", 1, 0, 1 << 32)),
        *(("fe80::1%nosuch0", 1), ("fe80::1%", 1), ("fe80::1%lo", 1, 0, LO + 1), ("127.0.0.1%lo", 1), (1, "::1")),
    ],
)
def test_what_is_no_address_is_refused(address: object) -> None:
    with pytest.raises(Inval, match="a host by number|no sockaddr"):
        Peer(address)


@pytest.mark.parametrize(
    "name", [b"", b"\x02\x00", b"\x0a\x00" + bytes(8), b"\xff\xff" + bytes(20), b"\1\0" + bytes(109)]
)
def test_a_name_of_no_known_family_has_no_address(name: bytes) -> None:
    with pytest.raises(Inval, match="no sockaddr of a peer"):
        unpacked(name)


def test_the_longest_path_that_a_socket_can_have_is_received() -> None:
    path = "/" + "x" * 107
    assert peer_of(received_path(path)).address == path
    # The socket module finds no zero behind it.
    assert peer_of(received_path(path + "other")).address == path
    assert peer_of(received_path("/short")).address == "/short"
    assert peer_of(received_path(b"\0" + b"x" * 107)).address == b"\0" + b"x" * 107


def test_a_path_has_at_most_107_bytes() -> None:
    with pytest.raises(Inval, match="at most 107 bytes"):
        Peer("/" + "x" * 107)
    assert Peer(b"\1\0").address == ""


def test_the_path_is_the_one_that_the_kernel_has(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as here:
        here.bind(str(tmp_path / "s"))
        assert Peer(here.getsockname()).address == os.fspath(tmp_path / "s")


# The peer of a packet.


def test_a_packet_has_the_peer_that_was_set(pool: Pool) -> None:
    with pool.gethdr() as m:
        assert m.peer is None
        peer = Peer(THERE)
        m.peer = peer
        assert (m.peer is peer, m.pkthdr.rcvif) == (True, None)
        m.peer = ("::1", 7)
        assert m.peer == Peer(("::1", 7))
        for bad in ("192.0.2.1:53", ("localhost", 53), 53, object()):
            with pytest.raises(Inval, match="^peer "):
                m.peer = bad
        assert m.peer == Peer(("::1", 7))
        m.peer = None
        assert m.peer is None


def test_an_mbuf_without_header_and_a_freed_one_have_no_peer(pool: Pool) -> None:
    m = pool.get()
    with pytest.raises(Inval, match="no packet header"):
        m.peer = THERE
    m.free()
    with pytest.raises(Freed):
        m.peer = THERE
    with pytest.raises(Freed):
        _ = m.peer


def test_the_next_packet_in_the_same_memory_has_none(pool: Pool) -> None:
    for hold in (False, True):
        m = pool.gethdr()
        m.peer = THERE
        hdr = m.pkthdr if hold else None
        m.free()
        del m
        fresh = [pool.gethdr() for _ in range(5)]
        assert {n.peer for n in fresh} == {None}
        pool.free_bulk(fresh)
        del hdr


def test_a_peer_is_beside_interface_and_send_tag(pool: Pool) -> None:
    card = SndTagInterface("em0")
    for first in (True, False):
        m = pool.gethdr()
        if first:
            m.peer = THERE
        m.pkthdr.rcvif = "em1"
        m.peer = THERE
        assert (m.peer, m.pkthdr.rcvif) == (Peer(THERE), "em1")
        m.peer = None
        assert (m.peer, m.pkthdr.rcvif) == (None, "em1")
        m.pkthdr.rcvif = None
        m.peer = THERE
        tag = pool.snd_tag_alloc(card)
        m.pkthdr.snd_tag = tag
        assert (m.peer, m.pkthdr.rcvif, m.pkthdr.snd_tag is tag) == (Peer(THERE), None, True)
        n = m.copypacket()
        assert (n.peer, n.pkthdr.snd_tag is tag, tag.refs) == (Peer(THERE), True, 2)
        n.free()
        m.pkthdr.snd_tag = None
        assert (m.peer, m.pkthdr.rcvif, m.pkthdr.csum_flags & CSUM_SND_TAG, tag.refs) == (Peer(THERE), None, 0, 0)
        m.free()
    assert card.refs == 0


def test_a_packet_with_peer_and_interface_releases_the_interface(pool: Pool) -> None:
    class Card:
        pass

    card = Card()
    gone = weakref.ref(card)
    m = pool.gethdr()
    m.peer, m.pkthdr.rcvif = THERE, card
    del card
    m.free()
    del m
    gc.collect()
    assert gone() is None


def test_copies_and_parts_have_the_peer(pool: Pool) -> None:
    with pool.frombytes(bytes(5000)) as m:
        m.peer = THERE
        made = [m.copypacket(), m.copym(0, 100), m.dup(), m.split(4000), pool.gethdr()]
        made[-1].dup_pkthdr(m)
        assert [n.peer for n in made] == [Peer(THERE)] * 5
        assert {n.pkthdr.rcvif for n in made} == {None}
        pool.free_bulk(made)
        parts = m.copypacket().segment(1000)
        assert [n.peer for n in parts] == [Peer(THERE)] * 4
        pool.free_bulk(parts)
        n = pool.gethdr()
        n.move_pkthdr(m)
        assert n.peer == Peer(THERE)
        n.demote_pkthdr()
        n.free()


def test_a_demoted_packet_has_none(pool: Pool) -> None:
    m = pool.gethdr()
    m.peer = THERE
    hdr = m.pkthdr
    m.demote_pkthdr()
    assert hdr.rcvif is None
    n = pool.gethdr()
    m.move_pkthdr(n)
    assert m.peer is None
    m.free()
    n.free()


def test_a_peer_is_shown(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    with pool.frombytes(b"x") as m:
        m.peer = THERE
        m.print()
    assert "packet of 1 bytes, peer ('192.0.2.1', 53)" in capsys.readouterr().out


def test_a_peer_can_be_pickled_and_copied() -> None:
    for peer in (Peer(("192.0.2.1", 53)), Peer(("2001:db8::1", 53, 7, 9))):
        for other in (copy.copy(peer), copy.deepcopy(peer), *(pickle.loads(pickle.dumps(peer, n)) for n in range(6))):
            assert (type(other), other, hash(other)) == (Peer, peer, hash(peer))
