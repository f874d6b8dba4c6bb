"""A VLAN tag goes from the header into the frame, whatever its mbufs; without memory nothing changes."""

from collections.abc import Callable

import pytest

from faults import FaultInjector
from mbuf import M_VLANTAG, Inval, Mbuf, NoBufs, Pool
from mbuf.net.link.vlan import encapsulate

ADDRESSES = bytes(range(12))
REST = b"\x08\x00" + bytes(range(100, 160))
FRAME = ADDRESSES + REST


def whole(pool: Pool) -> Mbuf:
    return pool.frombytes(FRAME)


def roomy(pool: Pool) -> Mbuf:
    return pool.frombytes(bytes(20) + FRAME).adj(20)


def cluster(pool: Pool) -> Mbuf:
    return pool.getcl().append(FRAME)


def shared(pool: Pool) -> Mbuf:
    m = cluster(pool)
    other = m.copypacket()
    m.freem()
    return other


def many_mbufs(pool: Pool) -> Mbuf:
    m = pool.frombytes(FRAME[:5])
    for at in range(5, len(FRAME), 6):
        m.cat(pool.get().append(FRAME[at : at + 6]))
    m.pkthdr.len = len(FRAME)
    return m


BUILDERS: dict[str, Callable[[Pool], Mbuf]] = {fn.__name__: fn for fn in (whole, roomy, cluster, shared, many_mbufs)}


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(("number", "tag"), [(0x1005, "81001005"), (0x88A8_E001, "88a8e001"), (0, "81000000")])
def test_a_tag_is_inserted_after_the_addresses(pool: Pool, build: str, number: int, tag: str) -> None:
    m = BUILDERS[build](pool)
    m.flags |= M_VLANTAG
    m.pkthdr.PH_per = number
    encapsulate(m)
    assert bytes(m) == ADDRESSES + bytes.fromhex(tag) + REST
    assert m.sanity()
    assert not m.flags & M_VLANTAG
    m.freem()


def test_packets_that_share_the_bytes_get_no_tag(pool: Pool) -> None:
    m = cluster(pool)
    other = m.copypacket()
    m.flags |= M_VLANTAG
    m.pkthdr.ether_vtag = 7
    encapsulate(m)
    assert bytes(other) == FRAME
    assert bytes(m) == ADDRESSES + b"\x81\0\0\x07" + REST
    pool.free_bulk([m, other])


@pytest.mark.parametrize("build", BUILDERS)
def test_without_memory_nothing_changes(pool: Pool, build: str) -> None:
    for turn in (1, 2, 3):
        m = BUILDERS[build](pool)
        m.flags |= M_VLANTAG
        faults = FaultInjector(pool)
        with faults.failing(turn, False):
            try:
                encapsulate(m)
            except NoBufs:
                assert bytes(m) == FRAME
                assert m.flags & M_VLANTAG
        assert m.sanity()
        m.freem()


def test_a_frame_without_addresses_is_not_changed(pool: Pool) -> None:
    m = pool.frombytes(FRAME[:11])
    m.flags |= M_VLANTAG
    encapsulate(m)
    assert bytes(m) == FRAME[:11]
    m.freem()


def test_ether_vtag_is_part_of_ph_per(pool: Pool) -> None:
    m = pool.gethdr()
    m.pkthdr.PH_per = 0x1234_5678_9ABC_DEF0
    assert m.pkthdr.ether_vtag == 0xDEF0
    m.pkthdr.ether_vtag = 0x0FFF
    assert m.pkthdr.PH_per == 0x1234_5678_9ABC_0FFF
    for bad in (-1, 1 << 16, None, 1.0):
        with pytest.raises(Inval, match="ether_vtag"):
            m.pkthdr.ether_vtag = bad  # type: ignore[assignment]
    assert m.pkthdr.ether_vtag == 0x0FFF
    m.free()
