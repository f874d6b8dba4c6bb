import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from interfaces import SndTagInterface
from mbuf import CSUM_SND_TAG, Freed, Interface, Inval, Pool, SndTag

BITS = {
    "len": 31,
    "flowid": 32,
    # The highest bit is set if there is a send tag.
    "csum_flags": 31,
    "fibnum": 16,
    "numa_domain": 8,
    "rsstype": 8,
    "rcv_tstmp": 64,
    "PH_per": 64,
    "PH_loc": 64,
}


def test_a_new_header_is_empty(pool: Pool) -> None:
    m = pool.gethdr()
    assert [getattr(m.pkthdr, field) for field in BITS] == [0] * len(BITS)
    assert m.pkthdr.rcvif is None
    m.free()


@pytest.mark.parametrize("field", BITS)
def test_a_field_takes_all_numbers_of_its_width(make: Callable[..., Pool], field: str) -> None:
    m = make().gethdr()
    for value in (1, (1 << BITS[field]) - 1, 0):
        setattr(m.pkthdr, field, value)
        assert getattr(m.pkthdr, field) == value
    m.free()


@pytest.mark.parametrize("field", BITS)
@pytest.mark.parametrize("value", [-1, None, 1.0, 1.5, "1", -(2**63), 2**64, 2**65, 10**30])
def test_a_field_refuses_all_others(make: Callable[..., Pool], field: str, value: object) -> None:
    m = make().gethdr()
    setattr(m.pkthdr, field, 1)
    for bad in (value, 1 << BITS[field]):
        with pytest.raises(Inval, match=rf"pkthdr\.{field}"):
            setattr(m.pkthdr, field, bad)
    assert getattr(m.pkthdr, field) == 1
    m.free()


def test_the_error_for_a_large_number_has_the_bounds(make: Callable[..., Pool]) -> None:
    with make().gethdr() as m:
        for field, bits in BITS.items():
            with pytest.raises(
                Inval, match=rf"pkthdr\.{field} = .*2\*\*{32 if bits == 31 and field != 'len' else bits} - 1"
            ):
                setattr(m.pkthdr, field, 1 << 64)


def test_the_highest_checksum_flag_follows_the_send_tag(pool: Pool) -> None:
    m = pool.gethdr()
    hdr = m.pkthdr
    hdr.csum_flags = 5
    with pytest.raises(Inval, match="CSUM_SND_TAG can.t be set or cleared"):
        hdr.csum_flags = CSUM_SND_TAG
    hdr.snd_tag = SndTag(pool.snd_tags, Interface(), 0)
    assert hdr.csum_flags == CSUM_SND_TAG | 5
    with pytest.raises(Inval, match="CSUM_SND_TAG can.t be set or cleared"):
        hdr.csum_flags = 5
    hdr.csum_flags = CSUM_SND_TAG | 6
    assert hdr.csum_flags == CSUM_SND_TAG | 6
    hdr.snd_tag = None
    assert hdr.csum_flags == 6
    m.free()
    assert pool.snd_tags.count == 0


def test_a_header_has_no_other_fields(pool: Pool) -> None:
    m = pool.gethdr()
    with pytest.raises(AttributeError):
        m.pkthdr.colour = 1  # type: ignore[attr-defined]
    m.free()


def test_fields_stay_apart(pool: Pool) -> None:
    m = pool.gethdr()
    for n, field in enumerate(BITS, 1):
        setattr(m.pkthdr, field, n)
    assert [getattr(m.pkthdr, field) for field in BITS] == list(range(1, len(BITS) + 1))
    m.free()


def test_the_next_packet_begins_with_a_clean_header(pool: Pool) -> None:
    for _ in range(20):
        m = pool.gethdr()
        assert [getattr(m.pkthdr, field) for field in BITS] == [0] * len(BITS)
        assert m.pkthdr.rcvif is None
        for field in BITS:
            setattr(m.pkthdr, field, 7)
        m.pkthdr.rcvif = "em0"
        m.free()
        del m


def test_a_header_held_over_the_free_stays_as_it_was(pool: Pool) -> None:
    headers = []
    for n in range(50):
        m = pool.gethdr() if n % 2 else pool.getcl()
        m.pkthdr.flowid = n
        headers.append(m.pkthdr)
        m.free()
        del m
    assert [hdr.flowid for hdr in headers] == list(range(50))
    assert len({id(hdr) for hdr in headers}) == 50


def test_a_header_with_a_reference_belongs_to_no_mbuf_after_the_free(pool: Pool) -> None:
    m = pool.gethdr()
    old = m.pkthdr
    m.free()
    del m
    new = [pool.gethdr() for _ in range(5)]
    old.len = 1000
    assert [n.pkthdr.len for n in new] == [0] * 5
    pool.free_bulk(new)


# Send tags, which replace the receive interface.


@pytest.fixture
def card(pool: Pool) -> Iterator[SndTagInterface]:
    card = SndTagInterface("em0")
    yield card
    assert (card.refs, pool.snd_tags.count) == (0, 0)


def test_a_send_tag_takes_the_place_of_the_interface(pool: Pool, card: SndTagInterface) -> None:
    m = pool.gethdr()
    hdr = m.pkthdr
    hdr.rcvif = "em1"
    hdr.csum_flags = 6
    tag = pool.snd_tag_alloc(card)
    hdr.snd_tag = tag
    assert (hdr.snd_tag is tag, hdr.rcvif, hdr.csum_flags, tag.refs) == (True, None, CSUM_SND_TAG | 6, 1)
    with pytest.raises(Inval, match="rcvif"):
        hdr.rcvif = "em1"
    hdr.snd_tag = None
    assert (hdr.snd_tag, hdr.rcvif, hdr.csum_flags, tag.refs) == (None, None, 6, 0)
    hdr.rcvif = "em1"
    hdr.snd_tag = None
    assert hdr.rcvif == "em1"
    m.free()


def test_another_send_tag_lets_the_first_go(pool: Pool, card: SndTagInterface) -> None:
    m = pool.gethdr()
    first, second = pool.snd_tag_alloc(card), pool.snd_tag_alloc(card)
    m.pkthdr.snd_tag = first
    m.pkthdr.snd_tag = second
    assert (first.refs, second.refs, pool.snd_tags.count) == (0, 1, 1)
    # Setting the same tag takes over one reference and releases one.
    m.pkthdr.snd_tag = second.ref()
    assert second.refs == 1
    m.free()
    assert second.refs == 0


@pytest.mark.parametrize("tag", [1, "tag", object(), SndTag])
def test_only_a_send_tag_is_taken(pool: Pool, tag: Any) -> None:
    m = pool.gethdr()
    m.pkthdr.rcvif = "em1"
    with pytest.raises(Inval, match="snd_tag"):
        m.pkthdr.snd_tag = tag
    assert (m.pkthdr.rcvif, m.pkthdr.csum_flags) == ("em1", 0)
    m.free()


def test_a_send_tag_that_has_ended_is_not_taken(pool: Pool, card: SndTagInterface) -> None:
    m = pool.gethdr()
    tag = pool.snd_tag_alloc(card)
    tag.rele()
    with pytest.raises(Freed):
        m.pkthdr.snd_tag = tag
    assert (m.pkthdr.snd_tag, m.pkthdr.csum_flags) == (None, 0)
    m.free()


@pytest.mark.parametrize("flags", [0, 6, CSUM_SND_TAG, CSUM_SND_TAG | 6])
def test_the_flag_follows_the_send_tag(pool: Pool, card: SndTagInterface, flags: int) -> None:
    m = pool.gethdr()
    if not flags & CSUM_SND_TAG:
        m.pkthdr.snd_tag = pool.snd_tag_alloc(card)
    before = m.pkthdr.csum_flags
    with pytest.raises(Inval, match="CSUM_SND_TAG can.t be set"):
        m.pkthdr.csum_flags = flags
    assert m.pkthdr.csum_flags == before
    m.pkthdr.csum_flags = before | 0x400
    assert m.pkthdr.csum_flags == before | 0x400
    m.free()


@pytest.mark.parametrize("storage", ["own", "cluster", "shared", "lent"])
def test_a_send_tag_goes_when_its_mbuf_is_freed(pool: Pool, card: SndTagInterface, storage: str) -> None:
    m = pool.gethdr() if storage in ("own", "lent") else pool.getcl()
    if storage == "lent":
        m.extadd(bytearray(10))
    n = pool.get()
    if storage in ("shared", "lent"):
        n.dupcl(m)
    tag = pool.snd_tag_alloc(card)
    m.pkthdr.snd_tag = tag
    m.tag_prepend(pool.tag_get(1))
    m.free()
    assert (tag.refs, card.refs, pool.tags.count) == (0, 0, int(n.ext is not None))
    n.free()
    assert pool.tags.count == 0


def test_a_driver_that_fails_to_let_a_send_tag_go_loses_no_mbuf(
    pool: Pool, card: SndTagInterface, unraisable: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SndTagInterface, "snd_tag_free", lambda self, tag: 1 // 0, raising=False)
    m = pool.getcl()
    m.pkthdr.snd_tag = pool.snd_tag_alloc(card)
    m.free()
    assert (list(map(type, unraisable)), pool.out) == ([ZeroDivisionError], 0)


def test_a_header_kept_over_the_free_has_neither_tags_nor_send_tag(pool: Pool, card: SndTagInterface) -> None:
    m = pool.gethdr()
    hdr = m.pkthdr
    hdr.snd_tag = pool.snd_tag_alloc(card)
    m.tag_prepend(pool.tag_get(1))
    m.free()
    assert (hdr.snd_tag, hdr.rcvif, hdr.csum_flags & CSUM_SND_TAG) == (None, None, 0)
    n = pool.gethdr()
    assert (n.pkthdr is hdr, n.tags) == (False, ())
    n.free()


def test_a_send_tag_that_was_released_too_often_loses_no_mbuf(
    pool: Pool, card: SndTagInterface, unraisable: list[BaseException]
) -> None:
    m = pool.getcl()
    tag = pool.snd_tag_alloc(card)
    m.pkthdr.snd_tag = tag
    m.tag_prepend(pool.tag_get(1))
    tag.rele()
    m.free()
    assert list(map(type, unraisable)) == [Freed]
    assert (pool.out, pool.tags.count) == (0, 0)


def test_a_vlan_tag_is_the_lowest_bits_of_what_a_packet_has_for_itself(pool: Pool) -> None:
    m = pool.gethdr()
    m.pkthdr.PH_per = 0x12345678
    m.pkthdr.ether_vtag = 0xABCD
    assert (m.pkthdr.PH_per, m.pkthdr.ether_vtag) == (0x1234ABCD, 0xABCD)
    for tag in (-1, 0x10000, 1 << 70, 1.0, None, "1"):
        with pytest.raises(Inval, match="give a number from 0 to 2"):
            m.pkthdr.ether_vtag = tag  # type: ignore[assignment]
    assert m.pkthdr.ether_vtag == 0xABCD
    m.free()


def test_a_header_without_an_mbuf_gives_back_its_send_tag(pool: Pool) -> None:
    m, tag = pool.gethdr(), SndTag(pool.snd_tags, Interface(), 0)
    hdr: Any = m.pkthdr
    m.demote_pkthdr()
    hdr.snd_tag = tag
    assert (tag.refs, pool.snd_tags.count) == (1, 1)
    del hdr
    gc.collect()
    assert (tag.refs, pool.snd_tags.count) == (0, 0)
    m.free()
