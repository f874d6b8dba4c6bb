import gc
import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains import chain_of, internet_checksum
from mbuf import M_COPYALL, M_RDONLY, Freed, Inval, Mbuf, Pool, ReadOnly, Vm, compiled

Build = Callable[[bytes], Mbuf]

SIZES = [0, 1, 2, 5, 100]
BAD = [-1, -(2**31), 2**31, 2**32, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30]
#: How long a chain must be that would break recursion.
LONG = 1_000_000 if compiled() else 20_000


def sample(size: int) -> bytes:
    return bytes((n * n + 129) % 251 for n in range(size))


def parts(size: int) -> list[tuple[int, int]]:
    """Some (off, len) that are in `size` bytes."""
    offs = sorted({0, 1, 2, 3, size // 2, size - 1, size})
    return [(off, end - off) for off in offs for end in offs if 0 <= off <= end <= size]


# Out.


@pytest.mark.parametrize("size", SIZES)
def test_any_part_is_copied_out(build: Build, size: int) -> None:
    data = sample(size)
    m = build(data)
    for off, count in parts(size):
        assert m.copydata(off, count) == data[off : off + count]
    assert bytes(m) == data


@pytest.mark.parametrize("size", SIZES)
def test_as_much_is_copied_into_a_buffer_as_fits(build: Build, size: int) -> None:
    data = sample(size)
    m = build(data)
    for off in {0, size // 2, size}:
        for room in (0, 1, size // 3, size, size + 5):
            target = bytearray(b"." * room)
            count = m.copyinto(target, off)
            assert count == min(room, size - off)
            assert target == data[off : off + count] + b"." * (room - count)


def test_any_writable_buffer_is_copied_into(pool: Pool) -> None:
    with chain_of(pool, b"0123", b"4567") as m:
        numbers = array("I", [0, 0])
        assert m.copyinto(numbers) == 8
        assert numbers.tobytes() == b"01234567"
        other = pool.getcl()
        assert m.copyinto(other.room[:3], 3) == 3
        other.grow(3)
        assert bytes(other) == b"345"
        other.free()


def test_bytes_are_copied_into_where_they_are(pool: Pool) -> None:
    with pool.getcl().append(b"0123456789") as m:
        assert m.copyinto(m.data[2:]) == 8
        assert bytes(m) == b"0101234567"


@pytest.mark.parametrize("target", [b"0123", memoryview(b"0123"), memoryview(bytearray(8))[::2]])
def test_what_cannot_be_written_in_one_piece_is_not_copied_into(pool: Pool, target: Any) -> None:
    with chain_of(pool, b"ab", b"cd") as m:
        before = bytes(target)
        with pytest.raises(BufferError, match="give a writable, contiguous buffer"):
            m.copyinto(target)
        assert bytes(target) == before


@pytest.mark.parametrize("target", [None, 5, "text", [1]])
def test_what_is_not_a_buffer_is_not_copied_into(pool: Pool, target: Any) -> None:
    with pool.get() as m, pytest.raises(TypeError):
        m.copyinto(target)


@pytest.mark.parametrize("size", SIZES)
def test_a_function_is_applied_to_every_piece(build: Build, size: int) -> None:
    data = sample(size)
    m = build(data)
    for off, count in parts(size):
        views: list[memoryview] = []
        assert m.apply(off, count, views.append) == 0
        assert b"".join(views) == data[off : off + count]


@pytest.mark.parametrize(
    ("off", "count", "sizes"),
    [
        (0, 13, [0, 3, 0, 10]),
        (0, 0, []),
        (0, 3, [0, 3]),
        (3, 1, [0, 1]),
        (2, 3, [1, 0, 2]),
        (13, 7, [0, 7]),
        (14, 6, [6]),
        (20, 0, []),
    ],
)
def test_an_empty_mbuf_between_is_a_piece_of_nothing(pool: Pool, off: int, count: int, sizes: list[int]) -> None:
    with chain_of(pool, b"", b"abc", b"", b"0123456789", b"", b"0123456", b"") as m:
        seen: list[int] = []
        assert m.apply(off, count, lambda view: seen.append(len(view))) == 0
        assert seen == sizes


def test_the_first_true_result_ends_it(pool: Pool) -> None:
    with chain_of(pool, b"a", b"b", b"c") as m:
        seen: list[bytes] = []

        def look(view: memoryview) -> object:
            seen.append(bytes(view))
            return "found" if view == b"b" else None

        assert m.apply(0, 3, look) == "found"
        assert seen == [b"a", b"b"]


def test_a_function_may_write_what_is_writable(pool: Pool) -> None:
    with chain_of(pool, b"ab", b"cd") as m:
        assert m.next is not None
        m.next.flags |= M_RDONLY
        seen: list[bool] = []
        m.apply(0, 4, lambda view: seen.append(view.readonly))
        assert seen == [False, True]

        def wipe(view: memoryview) -> None:
            view[:] = bytes(len(view))

        with pytest.raises(TypeError, match="read-only"):
            m.apply(1, 3, wipe)
        assert bytes(m) == b"a\0cd"


def test_a_function_that_raises_is_not_called_again(pool: Pool) -> None:
    with chain_of(pool, b"ab", b"cd") as m:
        with pytest.raises(ZeroDivisionError):
            m.apply(0, 4, lambda view: 1 // 0)
        with pytest.raises(TypeError):
            m.apply(0, 4, None)


def test_a_function_that_frees_the_packet_is_found_out(pool: Pool) -> None:
    m = chain_of(pool, b"ab", b"cd", b"ef")
    with pytest.raises(Freed):
        m.apply(0, 6, lambda view: m.freem())
    assert pool.out == 0


def test_a_function_that_frees_the_rest_is_found_out(pool: Pool) -> None:
    m = chain_of(pool, b"ab", b"cd", b"ef")
    n = m.next
    assert n is not None
    with pytest.raises(Freed):
        m.apply(0, 6, lambda view: n.freem())
    m.free()


def test_a_function_that_shortens_the_packet_is_found_out(pool: Pool) -> None:
    m = chain_of(pool, b"ab", b"cd", b"ef")
    rest = m.next

    def cut(view: memoryview) -> None:
        m.next = None

    with pytest.raises(Inval, match="became shorter"):
        m.apply(0, 6, cut)
    m.free()
    assert rest is not None
    rest.freem()


def test_a_view_that_a_function_keeps_keeps_the_memory(pool: Pool) -> None:
    m = chain_of(pool, b"ab")
    views: list[memoryview] = []
    m.apply(0, 2, views.append)
    m.freem()
    assert (pool.out, bytes(views[0])) == (1, b"ab")
    views.clear()
    gc.collect()
    assert pool.out == 0


@pytest.mark.parametrize(
    ("loc", "place", "off"),
    [(0, 0, 0), (9, 0, 9), (10, 1, 0), (11, 1, 1), (29, 1, 19), (30, 2, 0), (31, 2, 1), (59, 2, 29), (60, 2, 30)],
)
def test_a_byte_is_in_the_mbuf_that_the_kernel_says(pool: Pool, loc: int, place: int, off: int) -> None:
    with chain_of(pool, bytes(10), bytes(20), bytes(30)) as m:
        mbufs = [m, m.next, m.last()]
        found, at = m.getptr(loc)
        assert (mbufs.index(found), at) == (place, off)


def test_the_end_is_in_the_last_mbuf_even_if_that_is_empty(pool: Pool) -> None:
    with chain_of(pool, b"ab", b"", b"") as m:
        assert m.getptr(2) == (m.last(), 0)
        assert m.getptr(1) == (m, 1)


# Values.


@pytest.mark.parametrize("off", range(7))
def test_values_are_packed_and_unpacked_at_any_offset(build: Build, off: int) -> None:
    data = sample(20)
    m = build(data)
    assert m.unpack("!BHQ", off) == struct.unpack_from("!BHQ", data, off)
    values = (1, 0x2345, 2**63 + 9)
    if any(view.readonly for view in m):
        with pytest.raises(ReadOnly, match="shared or read-only"):
            m.pack("!BHQ", off, *values)
        assert bytes(m) == data
    else:
        m.pack("!BHQ", off, *values)
        assert m.unpack("!BHQ", off) == values
        assert bytes(m) == data[:off] + struct.pack("!BHQ", *values) + data[off + 11 :]
    assert len(m) == 20


def test_nothing_is_written_when_one_of_the_mbufs_is_read_only(pool: Pool) -> None:
    with chain_of(pool, b"ab", b"cd", b"ef") as m:
        m.last().flags |= M_RDONLY
        m.pack("4s", 0, b"0123")
        for off, fmt in ((0, "6s"), (3, "2s"), (5, "1s")):
            with pytest.raises(ReadOnly):
                m.pack(fmt, off, b"xxxxxx")
        m.pack("0s", 6, b"")
        assert bytes(m) == b"0123ef"


def test_values_that_do_not_fit_their_format_are_not_written(pool: Pool) -> None:
    with chain_of(pool, b"ab", b"cd") as m:
        for fmt, values in (("!BB", (1, 256)), ("!BB", (1,)), ("?!", (1,)), ("!HH", ("a", 1))):
            with pytest.raises(struct.error):
                m.pack(fmt, 0, *values)
        with pytest.raises(struct.error):
            m.unpack("?!")
        assert bytes(m) == b"abcd"


@pytest.mark.parametrize("off", [3, 5, *BAD])
def test_values_stay_in_the_packet(pool: Pool, off: int) -> None:
    with chain_of(pool, b"ab", b"cd") as m:
        with pytest.raises(Inval):
            m.pack("!H", off, 1)
        with pytest.raises(Inval):
            m.unpack("!H", off)
        assert (bytes(m), m.unpack("", 4)) == (b"abcd", ())


# Checksum.


@pytest.mark.parametrize("size", SIZES)
def test_any_part_has_its_checksum(build: Build, size: int) -> None:
    data = sample(size)
    m = build(data)
    for skip, count in parts(size):
        assert m.in_cksum(skip + count, skip) == internet_checksum(data[skip : skip + count])
    assert m.in_cksum() == m.in_cksum(M_COPYALL) == internet_checksum(data)
    assert m.in_cksum(M_COPYALL, size // 2) == internet_checksum(data[size // 2 :])


@pytest.mark.parametrize("cut", range(21))
def test_a_checksum_packed_is_right_on_the_wire(pool: Pool, cut: int) -> None:
    # An IPv4 header known to have the checksum b861.
    header = bytes.fromhex("45000073000040004011 0000 c0a80001c0a800c7")
    with chain_of(pool, header[:cut], header[cut:]) as m:
        assert m.in_cksum() == 0xB861
        m.pack("!H", 10, m.in_cksum(20))
        assert m.copydata(10, 2) == b"\xb8\x61"
        assert m.in_cksum() == 0


@pytest.mark.parametrize(("count", "skip"), [(2, 3), (5, 0), (5, 5), (M_COPYALL, 5), (M_COPYALL + 1, 0)])
def test_no_checksum_goes_beyond_the_packet(pool: Pool, count: int, skip: int) -> None:
    with chain_of(pool, b"ab", b"cd") as m:
        with pytest.raises(Inval, match="in_cksum"):
            m.in_cksum(count, skip)
        assert m.in_cksum(4, 4) == m.in_cksum(M_COPYALL, 4) == 0xFFFF


# Search.


@pytest.mark.parametrize("size", SIZES)
def test_what_is_there_is_found_where_it_is(build: Build, size: int) -> None:
    data = sample(size)
    m = build(data)
    for off, count in parts(size):
        pattern = data[off : off + count]
        for start in (0, off, size):
            assert m.find(pattern, start) == data.find(pattern, start)
        assert m.find(pattern + b"?!") == -1


@pytest.mark.parametrize("pattern", [b"lo w", bytearray(b"lo w"), memoryview(b"xxlo wxx")[2:6], array("B", b"lo w")])
def test_a_pattern_is_anything_with_bytes(pool: Pool, pattern: Any) -> None:
    with chain_of(pool, b"hello", b" world") as m:
        assert (m.find(pattern), m.find(pattern, 4), m.find(b""), m.find(b"", 11)) == (3, -1, 0, 11)


@pytest.mark.parametrize("pattern", [None, 5, "lo"])
def test_what_has_no_bytes_is_not_a_pattern(pool: Pool, pattern: Any) -> None:
    with pool.get() as m, pytest.raises(TypeError):
        m.find(pattern)


def test_a_long_pattern_in_many_short_mbufs_is_found(make: Callable[..., Pool]) -> None:
    # A search that begins again at each mbuf would look at some 10**8 of them.
    count = LONG // 50
    with chain_of(make(mem=1 << 32), *[b"a"] * count, b"b") as m:
        assert m.find(b"a" * (count // 2) + b"b") == count - count // 2
        assert m.find(b"a" * (count // 2) + b"c") == -1


NUMBERS_OF_FIND = [-(10**30), -101, -100, -7, -1, 0, 1, 6, 99, 100, 101, 10**30]


@pytest.mark.parametrize("size", [0, 1, 5, 100])
def test_a_search_takes_the_numbers_of_bytes_find(build: Build, size: int) -> None:
    data = sample(size)
    m = build(data)
    for start in NUMBERS_OF_FIND:
        for end in (*NUMBERS_OF_FIND, None):
            for pattern in (b"", data[:1], data[size // 2 : size // 2 + 3], b"no"):
                assert m.find(pattern, start, end) == data.find(pattern, start, end)
                assert m.rfind(pattern, start, end) == data.rfind(pattern, start, end)


def test_the_last_of_many_matches_is_found(pool: Pool) -> None:
    with chain_of(pool, b"aXa", b"", b"Xa", b"Xab") as m:
        assert (m.rfind(b"aXa"), m.rfind(b"aXa", 0, -1), m.rfind(b"aXa", 0, 6)) == (4, 4, 2)
        assert (m.rfind(b"aXa", 5), m.rfind(memoryview(b"Xb")), m.rfind(bytearray(b"b"))) == (-1, -1, 7)


@pytest.mark.parametrize("verb", ["find", "rfind", "startswith", "equals", "cmp", "__contains__"])
@pytest.mark.parametrize("junk", [None, 5, "lo", [1]])
def test_what_has_no_bytes_is_refused(pool: Pool, verb: str, junk: Any) -> None:
    with pool.getcl().append(b"lo") as m, pytest.raises(TypeError):
        getattr(m, verb)(junk)


@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_in_a_packet_wherever_they_lie(build: Build, size: int) -> None:
    data = sample(size)
    m = build(data)
    for off, count in parts(size):
        assert data[off : off + count] in m
        assert memoryview(data)[off : off + count] in m
    assert b"?!" not in m


def test_an_mbuf_is_not_looked_for_in_a_packet(pool: Pool) -> None:
    with chain_of(pool, b"ab", b"cd") as m, pytest.raises(TypeError, match="not an mbuf"):
        assert m.next in m


# One byte.


@pytest.mark.parametrize("size", SIZES)
def test_each_byte_is_a_number(build: Build, size: int) -> None:
    data = sample(size)
    m = build(data)
    assert [m[n] for n in range(-size, size)] == [data[n] for n in range(-size, size)]
    for bad in (size, -size - 1, *(n for n in BAD if not -size <= n < size)):
        with pytest.raises(IndexError, match="the packet has"):
            m[bad]


def test_an_index_is_a_number_and_iteration_gives_views(pool: Pool) -> None:
    with chain_of(pool, b"a\xff", b"", b"\x80") as m:
        assert [bytes(view) for view in m] == [b"a\xff", b"\x80"]
        assert (m[1], m[2], m[True]) == (255, 128, 255)
        junk: Any
        for junk in ("1", 1.0, None, b"1"):
            with pytest.raises(TypeError, match="index: give a whole number"):
                m[junk]
        junk = slice(0, 1)
        with pytest.raises(TypeError, match="not a slice"):
            m[junk]


# Comparison.


def neighbours(data: bytes) -> list[bytes]:
    """Byte strings that begin as `data`, or differ from it in one byte."""
    changed = [
        data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
        for at in {0, len(data) // 2, len(data) - 1}
        if at >= 0
        for bit in (1, 0x80)
        if data
    ]
    return [b"", data, data + b"\0", data + b"\xff" * 300, data[:-1], data[: len(data) // 2], *changed]


def sign(data: bytes, other: bytes) -> int:
    return (data > other) - (data < other)


@pytest.mark.parametrize("size", SIZES)
def test_a_packet_compares_with_bytes_as_its_bytes_do(build: Build, pool: Pool, size: int) -> None:
    data = sample(size)
    m = build(data)
    for other in neighbours(data):
        same = data == other
        assert ((m == other), (other == m), (m != other)) == (same, same, not same)
        assert ((m == bytearray(other)), (memoryview(other) == m), (m == memoryview(other))) == (same, same, same)
        assert (m.equals(other), m.equals(array("B", other))) == (same, same)
        assert m.cmp(other) == m.cmp(bytearray(other)) == sign(data, other)
        assert m.startswith(other) == m.startswith(memoryview(other)) == data.startswith(other)


@pytest.mark.parametrize("cut", [0, 1, 3, 50, 99])
@pytest.mark.parametrize("size", SIZES)
def test_packets_compare_as_their_bytes_do_however_they_are_cut(build: Build, pool: Pool, size: int, cut: int) -> None:
    data = sample(size)
    m = build(data)
    for other in neighbours(data):
        with chain_of(pool, other[:cut], b"", other[cut : cut + 7], other[cut + 7 :][:150], other[cut + 157 :]) as n:
            same = data == other
            assert (m.equals(n), n.equals(m), m == n, m != n) == (same, same, False, True)
            assert (m.cmp(n), n.cmp(m)) == (sign(data, other), sign(other, data))
    assert m.equals(m)
    assert m.cmp(m) == 0


def test_two_chains_of_each_layout_compare(build: Build) -> None:
    m, n, r = build(sample(100)), build(sample(100)), build(sample(99))
    assert (m.equals(n), m.cmp(n), m.cmp(r), r.cmp(m), r.equals(m)) == (True, 0, 1, -1, False)


def test_mbufs_are_equal_only_to_themselves(pool: Pool) -> None:
    m, n = chain_of(pool, b"ab"), chain_of(pool, b"ab")
    assert m == m
    assert m != n
    assert len({m, n, m}) == 2
    assert {m: 1, n: 2}[n] == 2
    assert [n, m].index(m) == 1
    assert hash(m) == object.__hash__(m)
    m.free()
    assert m == m
    assert m != n
    n.free()


@pytest.mark.parametrize("other", [None, 5, "ab", [97, 98], object()])
def test_what_has_no_bytes_is_not_equal(pool: Pool, other: Any) -> None:
    with chain_of(pool, b"ab") as m:
        assert m != other
        assert not m == other  # noqa: SIM201
        assert m.__eq__(other) is NotImplemented
        with pytest.raises(TypeError):
            assert m < other


def test_another_class_may_decide_whether_it_is_equal(pool: Pool) -> None:
    class Any_:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    with chain_of(pool, b"ab") as m:
        assert m == Any_()


def test_a_packet_compares_with_bytes_in_steps(pool: Pool) -> None:
    with chain_of(pool, b"ab", b"cd") as m:
        assert m == memoryview(b"a.b.c.d.")[::2]
        assert m == array("H", b"abcd")


@pytest.mark.parametrize("which", [0, 1])
def test_a_freed_packet_is_not_compared(pool: Pool, which: int) -> None:
    pair = [chain_of(pool, b"ab", b"cd"), chain_of(pool, b"ab", b"cd")]
    pair[which].freem()
    m, n = pair
    for verb in (m.equals, m.cmp):
        with pytest.raises(Freed):
            verb(n)
    pair[1 - which].freem()


# Any chain is one row of bytes.


@contextmanager
def built(pieces: list[bytes]) -> Iterator[Mbuf]:
    with Pool(Vm(realmem=1 << 24), worker=False) as pool:
        with chain_of(pool, *pieces) as m:
            yield m
        assert pool.out == 0


PIECES = st.lists(st.binary(max_size=9) | st.text("ab", max_size=9).map(str.encode), min_size=1, max_size=7)


@given(PIECES, st.integers(0, 70), st.integers(0, 70))
def test_a_part_is_the_same_however_the_packet_is_cut(pieces: list[bytes], off: int, count: int) -> None:
    data = b"".join(pieces)
    off = min(off, len(data))
    count = min(count, len(data) - off)
    with built(pieces) as m:
        target = bytearray(count)
        assert m.copydata(off, count) == data[off : off + count]
        assert (m.copyinto(target, off), target) == (count, data[off : off + count])
        assert m.in_cksum(off + count, off) == internet_checksum(data[off : off + count])


@given(PIECES, st.text("ab", max_size=6) | st.binary(max_size=2), st.integers(0, 70))
def test_a_search_is_the_same_however_the_packet_is_cut(pieces: list[bytes], pattern: str | bytes, start: int) -> None:
    sought = pattern.encode() if isinstance(pattern, str) else pattern
    data = b"".join(pieces)
    with built(pieces) as m:
        assert m.find(sought, start) == data.find(sought, start)
        assert m.find(sought, 1, start) == data.find(sought, 1, start)
        assert m.rfind(sought, start) == data.rfind(sought, start)
        assert m.rfind(sought, 0, start) == data.rfind(sought, 0, start)
        assert (sought in m) == (sought in data)
        assert m.startswith(sought) == data.startswith(sought)


@given(PIECES, PIECES)
def test_any_two_packets_compare_as_their_bytes_do(pieces: list[bytes], others: list[bytes]) -> None:
    data, other = b"".join(pieces), b"".join(others)
    with built(pieces) as m, built(others) as n:
        assert m.cmp(n) == m.cmp(other) == sign(data, other)
        assert m.equals(n) == m.equals(other) == (m == other) == (data == other)


# Shown.

PACKET = "45 00 00 54 00 00 40 00  40 01 00 00 7f 00 00 01  |E..T..@.@.......|"


def test_a_hexdump_has_places_bytes_and_text(pool: Pool) -> None:
    with chain_of(pool, b"E\0\0T\0\0@\0@\1", b"\0\0\x7f\0\0\1" + b"hello, ~\x80") as m:
        text = m.hexdump()
        assert text.splitlines() == [
            f"00000000  {PACKET}",
            "00000010  68 65 6c 6c 6f 2c 20 7e  80                       |hello, ~.|",
        ]
        assert m.hexdump(16, 3) == "00000010  68 65 6c                                          |hel|"
        assert m.hexdump(20).startswith("00000014  6f 2c ")
        assert m.hexdump(25) == m.hexdump(3, 0) == ""


def printed(m: Mbuf, maxlen: int = -1) -> list[str]:
    out = StringIO()
    m.print(maxlen, out)
    return out.getvalue().splitlines()


def test_a_packet_is_printed_mbuf_by_mbuf(pool: Pool) -> None:
    m = pool.getcl().append(b"hello, world! It goes on")
    m.last().next = pool.get().append(b"and on")
    m.pkthdr.len = 30
    m.pkthdr.rcvif = "em0"
    m.pkthdr.flowid = 0x2A
    n = m.copypacket()
    assert printed(m) == [
        "mbuf 0: MT_DATA, M_EXT|M_PKTHDR, 24 of 2048 bytes at 0, EXT_PACKET with 2 users",
        "    packet of 30 bytes, rcvif em0, flowid 0x2a",
        "    00000000  68 65 6c 6c 6f 2c 20 77  6f 72 6c 64 21 20 49 74  |hello, world! It|",
        "    00000010  20 67 6f 65 73 20 6f 6e                           | goes on|",
        "mbuf 1: MT_DATA, no flags, 6 of 224 bytes at 0",
        "    00000018  61 6e 64 20 6f 6e                                 |and on|",
    ]
    n.freem()
    m.freem()


def test_no_more_bytes_are_printed_than_requested(pool: Pool) -> None:
    with chain_of(pool, b"abcd", b"efgh", b"ijkl") as m:
        m.pkthdr.len = 13
        assert printed(m, 5) == [
            "mbuf 0: MT_DATA, M_PKTHDR, 4 of 168 bytes at 0",
            "    packet of 13 bytes (but there are 12)",
            "    00000000  61 62 63 64                                       |abcd|",
            "mbuf 1: MT_DATA, no flags, 4 of 224 bytes at 0",
            "    00000004  65                                                |e|",
            "    3 more bytes",
            "mbuf 2: MT_DATA, no flags, 4 of 224 bytes at 0",
            "    4 more bytes",
        ]
        assert not any("|" in line.removeprefix("mbuf") and "abcd" in line for line in printed(m, 0))
        for bad in (-2, -(2**63) - 1):
            with pytest.raises(Inval, match="print"):
                m.print(bad)
        assert printed(m, 2**64) == printed(m)


def test_what_a_packet_carries_is_printed(pool: Pool) -> None:
    m = pool.gethdr()
    m.tag_prepend(pool.tag_get(21, "pf")).tag_prepend(pool.tag_alloc(7, 1, b"x"))
    m.pkthdr.rcvif = "em0"
    assert printed(m) == [
        "mbuf 0: MT_DATA, M_PKTHDR, 0 of 168 bytes at 0",
        "    packet of 0 bytes, rcvif em0",
        "    tag 1 of cookie 7: b'x'",
        "    tag 21 of cookie 0: 'pf'",
    ]
    m.free()


def test_it_is_printed_to_standard_output(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    with pool.getcl().append(b"x") as m:
        m.print()
        assert capsys.readouterr().out.splitlines() == printed(m)
        assert "EXT_PACKET with 1 user" in printed(m)[0]


# Whatever is passed.

NUMBERS: dict[str, Callable[[Mbuf, Any], object]] = {
    "copydata off": lambda m, bad: m.copydata(bad, 1),
    "copydata len": lambda m, bad: m.copydata(1, bad),
    "copydata both": lambda m, bad: m.copydata(bad, bad),
    "copyinto off": lambda m, bad: m.copyinto(bytearray(1), bad),
    "apply off": lambda m, bad: m.apply(bad, 1, bytes),
    "apply len": lambda m, bad: m.apply(1, bad, bytes),
    "getptr loc": lambda m, bad: m.getptr(bad),
    "unpack offset": lambda m, bad: m.unpack("", bad),
    "pack offset": lambda m, bad: m.pack("", bad),
    "in_cksum len": lambda m, bad: m.in_cksum(bad),
    "in_cksum skip": lambda m, bad: m.in_cksum(M_COPYALL, bad),
    "hexdump off": lambda m, bad: m.hexdump(bad),
    "hexdump len": lambda m, bad: m.hexdump(0, bad),
}


@pytest.mark.parametrize("bad", [5, *BAD])
@pytest.mark.parametrize("verb", NUMBERS)
def test_no_number_reaches_beyond_the_packet(make: Callable[..., Pool], verb: str, bad: int) -> None:
    with chain_of(make(), b"ab", b"cd") as m:
        with pytest.raises(Inval, match=verb.split()[0]):
            NUMBERS[verb](m, bad)
        assert (bytes(m), m.pkthdr.len) == (b"abcd", 4)


@pytest.mark.parametrize("junk", [1.0, "1", b"1", [1]])
@pytest.mark.parametrize("verb", NUMBERS)
def test_what_is_not_a_number_is_refused(make: Callable[..., Pool], verb: str, junk: object) -> None:
    with chain_of(make(), b"ab", b"cd") as m, pytest.raises(TypeError):
        NUMBERS[verb](m, junk)


class Freeing:
    """A number that frees an mbuf when it is asked how much it is."""

    def __init__(self, m: Mbuf) -> None:
        self.m = m

    def __index__(self) -> int:
        self.m.freem()
        return 0


@pytest.mark.parametrize("verb", NUMBERS)
def test_a_number_that_frees_the_packet_is_found_out(make: Callable[..., Pool], verb: str) -> None:
    m = chain_of(make(), b"ab", b"cd")
    with pytest.raises(Freed):
        NUMBERS[verb](m, Freeing(m))


@pytest.mark.parametrize(
    "look",
    [
        lambda m: m.copydata(0, 3),
        lambda m: m.copyinto(bytearray(3)),
        lambda m: m.apply(0, 3, lambda view: None),
        lambda m: m.getptr(2),
        lambda m: m.unpack("3s"),
        lambda m: m.pack("3s", 0, b"xyz"),
        lambda m: m.in_cksum(),
        lambda m: m.in_cksum(3),
        lambda m: m.find(b"c"),
        lambda m: m.rfind(b"a"),
        lambda m: b"c" in m,
        lambda m: m[2],
        lambda m: m == b"abc",
        lambda m: m.equals(bytearray(b"abc")),
        lambda m: m.cmp(b"abc"),
        lambda m: m.startswith(b"abc"),
        lambda m: m.hexdump(),
        lambda m: m.print(-1, StringIO()),
        bytes,
        list,
    ],
)
def test_a_chain_with_a_freed_mbuf_in_it_raises_an_error(pool: Pool, look: Callable[[Mbuf], object]) -> None:
    m = chain_of(pool, b"a", b"b", b"c")
    middle, last = m.next, m.last()
    assert middle is not None
    middle.free()
    with pytest.raises(Freed):
        look(m)
    assert (bytes(m.data), bytes(last)) == (b"a", b"c")
    m.free()
    last.free()


def test_a_long_chain_is_read_and_written(make: Callable[..., Pool]) -> None:
    pool = make(mem=1 << 36)
    m = last = pool.gethdr().append(b"x")
    for _ in range(LONG - 1):
        n = pool.get()
        n.room[:1] = b"x"
        n.grow(1)
        last.next = n
        last = n
    del last, n
    assert m.copydata(0, LONG) == b"x" * LONG
    assert m.copyinto(bytearray(LONG)) == LONG
    assert m.in_cksum() == internet_checksum(b"x" * LONG)
    assert m.find(b"y") == -1
    assert m.getptr(LONG)[1] == 1
    assert m.apply(LONG - 1, 1, bytes) == b"x"
    m.pack("3s", LONG - 3, b"abc")
    assert m.unpack("2s", LONG - 2) == (b"bc",)
    assert m.find(b"abc") == m.rfind(b"abc") == LONG - 3
    assert m == b"x" * (LONG - 3) + b"abc"
    assert m.cmp(b"x" * LONG) == -1
    assert (m[-1], m[LONG - 1]) == (99, 99)
    m.freem()


def test_nothing_is_left_of_what_was_looked_at(make: Callable[..., Pool]) -> None:
    pool = make()
    m = chain_of(pool, b"ab", b"cd")
    before = sys.getrefcount(m)
    for _ in range(100):
        m.copydata(1, 2), m.copyinto(bytearray(3)), m.find(b"bc"), m.unpack("!H", 1), m.pack("!H", 1, 2), m.getptr(3)
    assert sys.getrefcount(m) == before
    m.freem()
    assert pool.out == 0
