from collections.abc import Callable

import pytest

from mbuf import CSUM_SND_TAG, Interface, Inval, Pool, SndTag

BITS = {
    "len": 31,
    "flowid": 32,
    # The highest bit says that there is a send tag.
    "csum_flags": 31,
    "fibnum": 16,
    "numa_domain": 8,
    "rsstype": 8,
    "rcv_tstmp": 64,
    "PH_per": 64,
    "PH_loc": 64,
}


def test_a_new_header_knows_nothing(pool: Pool) -> None:
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


def test_a_number_too_wide_is_told_what_would_fit(make: Callable[..., Pool]) -> None:
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
    with pytest.raises(Inval, match="CSUM_SND_TAG follows the send tag"):
        hdr.csum_flags = CSUM_SND_TAG
    hdr.snd_tag = SndTag(pool.snd_tags, Interface(), 0)
    assert hdr.csum_flags == CSUM_SND_TAG | 5
    with pytest.raises(Inval, match="CSUM_SND_TAG follows the send tag"):
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


def test_a_header_held_over_the_free_is_no_longer_an_mbufs(pool: Pool) -> None:
    m = pool.gethdr()
    old = m.pkthdr
    m.free()
    del m
    new = [pool.gethdr() for _ in range(5)]
    old.len = 1000
    assert [n.pkthdr.len for n in new] == [0] * 5
    pool.free_bulk(new)
