"""The fields of an mbuf of unmapped pages."""

from typing import Any

import pytest

from mbuf import M_EXTPG, PAGE_SIZE, Inval, Pool, compiled
from mbuf.packet.epg import Epg, new_epg

MOST = {
    "nrdy": 255,
    "first_off": 4095,
    "last_len": 4096,
    "flags": 255,
    "record_type": 255,
    "enc_cnt": 2**31 - 1,
    "ext_size": 2**31 - 1,
    "seqno": 2**64 - 1,
}


def test_a_new_header_has_every_field_with_its_default() -> None:
    # mb_alloc_ext_pgs leaves several uninitialised.
    epg = new_epg()
    assert [getattr(epg, name) for name in MOST] == [0] * len(MOST)
    assert (epg.hdr, epg.trail, epg.so, epg.pages, epg.npgs, epg.total()) == (b"", b"", None, (), 0, 0)


def test_there_is_none_without_an_mbuf() -> None:
    with pytest.raises(TypeError, match=r"m\.epg of an mbuf"):
        Epg()


@pytest.mark.parametrize("name", MOST)
def test_a_field_is_as_wide_as_the_kernels(name: str) -> None:
    epg = new_epg()
    setattr(epg, name, MOST[name])
    for bad in (-1, MOST[name] + 1, 2**64, 2**200, -(2**63), 1.5, "1", None, b"1"):
        with pytest.raises(Inval, match=rf"epg\.{name} = .* 0 to {MOST[name]}"):
            setattr(epg, name, bad)
    assert getattr(epg, name) == MOST[name]
    setattr(epg, name, 0)
    assert getattr(epg, name) == 0


@pytest.mark.parametrize(("name", "most"), [("hdr", 23), ("trail", 64)])
def test_header_and_trailer_are_bytes_and_not_too_many(name: str, most: int) -> None:
    epg = new_epg()
    setattr(epg, name, b"x" * most)
    bad: list[Any] = [b"x" * (most + 1), bytearray(3), memoryview(b"abc"), "abc", None, 3]
    for value in bad:
        with pytest.raises(Inval, match=rf"epg\.{name} = .* at most {most} bytes"):
            setattr(epg, name, value)
    assert (getattr(epg, name), epg.total()) == (b"x" * most, most)


@pytest.mark.parametrize("name", ["pages", "npgs", "colour"])
def test_nothing_else_can_be_set(name: str) -> None:
    epg = new_epg()
    with pytest.raises(AttributeError):
        setattr(epg, name, (1, 2))
    assert epg.pages == ()


def test_the_socket_may_be_anything() -> None:
    epg = new_epg()
    thing = object()
    epg.so = thing
    assert epg.so is thing


def test_where_the_bytes_are_is_as_the_kernel_says(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(2 * PAGE_SIZE)
    epg = m.epg
    epg.hdr, epg.first_off, epg.last_len, epg.trail = b"h" * 5, 100, 1000, b"t" * 16
    assert (epg.npgs, len(set(epg.pages)), epg.pagelen(0), epg.pagelen(1)) == (2, 2, 3996, 1000)
    assert epg.total() == 5 + 3996 + 1000 + 16 == 5017
    m.free()


def test_of_one_page_the_last_length_counts_from_the_first_offset(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(1)
    m.epg.first_off, m.epg.last_len = 4000, 96
    assert (m.epg.pagelen(0), m.epg.total()) == (96, 96)
    m.len = 96
    assert len(bytes(m)) == 96
    m.epg.last_len = 97
    m.len = 97
    for ask in (bytes, list, lambda m: m.copydata(0, 1)):
        with pytest.raises(Inval, match="97 bytes at 4000 of a page"):
            ask(m)
    m.free()


def test_a_full_page_may_be_in_the_middle_only_of_more_than_two(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(3 * PAGE_SIZE)
    m.epg.first_off, m.epg.last_len = 4095, 1
    assert [m.epg.pagelen(n) for n in range(3)] == [1, 4096, 1]
    m.free()


@pytest.mark.parametrize("page", [-1, 1, 5, 2**31, 2**62])
def test_a_page_that_there_is_not_has_no_length(pool: Pool, page: int) -> None:
    m = pool.alloc_ext_plus_pages(1)
    with pytest.raises(Inval, match=f"no page {page}, of 1"):
        m.epg.pagelen(page)
    m.free()


def test_it_shows_the_mbuf_it_is_of_and_keeps_nothing(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(1)
    epg = m.epg
    assert m.epg is epg
    m.free()
    assert (epg.npgs, epg.pages, pool.pages.used) == (0, (), 0)


def test_bytes_that_fields_took_away_are_missed_and_nothing_is_read_beyond_them(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(PAGE_SIZE)
    m.epg.last_len, m.epg.hdr = 10, b"head"
    m.len = 14
    m.epg.hdr = b""
    for ask in (bytes, list, lambda m: m.in_cksum(), lambda m: m.find(b"x"), lambda m: m.unmapped_to_ext()):
        with pytest.raises(Inval, match="4 bytes too few"):
            ask(m)
    with pytest.raises(Inval, match="0 to 10"):
        m.len = 11
    m.epg.last_len = 0
    m.len = 0
    m.free()


@pytest.mark.parametrize("page", [-1, 1, 5])
def test_a_page_that_there_is_not_has_no_number(pool: Pool, page: int) -> None:
    m = pool.frombytes(bytes(10), flags=M_EXTPG)
    number = getattr(m.epg, "number", None)
    if number is None:
        assert compiled()
    else:
        with pytest.raises(Inval, match=f"there is no page {page}, of 1"):
            number(page)
    m.free()
