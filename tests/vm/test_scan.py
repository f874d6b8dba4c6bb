from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains import internet_checksum
from mbuf import compiled
from mbuf.const import PAGE_SIZE
from mbuf.vm import scan
from mbuf.vm.arena import Arena, Run
from mbuf.vm.page import Memory
from mbuf.vm.scan import compare, compare_bytes, copy_out, find, search, sum16

#: (off, count) that are not in 8 bytes.
OUTSIDE = [(-1, 1), (0, -1), (9, 0), (0, 9), (8, 1), (2**63 - 1, 1), (1, 2**63 - 1), (-(2**63), 0)]


def memory(data: bytes) -> Memory:
    made = Memory()
    pages = 1 + len(data) // PAGE_SIZE
    made.carve(Run(Arena(pages), 0, 7, pages), 0, len(data))
    made.write(0, data, 0, len(data))
    return made


# Copy.


@pytest.mark.parametrize("target", [bytearray(8), memoryview(bytearray(8)).cast("I")])
def test_bytes_are_poured_into_a_buffer(target: Any) -> None:
    copy_out(memory(b"01234567"), 2, 3, target, 4)
    copy_out(memory(b"01234567"), 0, 0, target, 8)
    assert bytes(target) == b"\0\0\0\x00234\0"


@pytest.mark.parametrize("at", [6, 8, 9, -1, 2**63 - 1])
def test_nothing_is_copied_beside_a_buffer(at: int) -> None:
    target = bytearray(8)
    with pytest.raises(IndexError, match="too short"):
        copy_out(memory(b"01234567"), 0, 3, target, at)
    assert target == bytes(8)


@pytest.mark.parametrize(
    ("target", "error"),
    [(b"01234567", BufferError), (memoryview(bytearray(16))[::2], (BufferError, TypeError)), (5, TypeError)],
)
def test_what_is_not_a_writable_buffer_is_not_poured_into(target: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        copy_out(memory(b"01234567"), 0, 3, target, 0)


def test_bytes_may_be_poured_into_where_they_are() -> None:
    arena = Arena(1)
    made = Memory()
    made.carve(Run(arena, 0, 0, 1), 0, 16)
    made.write(0, b"0123456789abcdef", 0, 16)
    copy_out(made, 0, 8, memoryview(arena.map)[:16], 3)
    assert made.read(0, 16) == b"01201234567bcdef"


@pytest.mark.skipif(compiled(), reason="compiled, only C calls these")
@pytest.mark.parametrize(("at", "good"), [(0, True), (5, True), (6, False), (8, False), (-1, False)])
def test_new_bytes_are_set_where_there_is_room_for_them(at: int, good: bool) -> None:
    whole = scan.new_bytes(8)
    if good:
        scan.set_bytes(whole, at, memory(b"01234567"), 2, 3)
        assert whole == bytes(at) + b"234" + bytes(5 - at)
    else:
        with pytest.raises(IndexError, match=f"^3 bytes at {at} of 8$"):
            scan.set_bytes(whole, at, memory(b"01234567"), 2, 3)
        assert whole == bytes(8)


# Comparison.


@pytest.mark.parametrize(
    ("off", "start", "count", "order"),
    [
        (0, 0, 0, 0),
        (8, 8, 0, 0),
        (0, 0, 3, 0),
        (0, 0, 4, -1),
        (3, 3, 1, -1),
        (4, 3, 1, 1),
        (1, 2, 6, -1),
        (6, 7, 1, -1),
    ],
)
def test_bytes_compare_unsigned(off: int, start: int, count: int, order: int) -> None:
    one, other = b"012\x7f\xff5\0\0", b"012\x805\xff\0\xff"
    assert compare(memory(one), off, memory(other), start, count) == order
    assert compare(memory(other), start, memory(one), off, count) == -order
    assert compare_bytes(memory(one), off, other, start, count) == order


@pytest.mark.parametrize(("off", "count"), OUTSIDE)
def test_nothing_is_compared_beside_the_bytes(off: int, count: int) -> None:
    data = b"01234567"
    for compared in (
        lambda: compare(memory(data), off, memory(bytes(99)), 0, count),
        lambda: compare(memory(bytes(99)), 0, memory(data), off, count),
        lambda: compare_bytes(memory(data), off, bytes(99), 0, count),
        lambda: compare_bytes(memory(bytes(99)), 0, data, off, count),
    ):
        with pytest.raises(IndexError):
            compared()


# Checksum.


@pytest.mark.parametrize("count", [*range(34), 63, 64, 65, 1000, 1001])
@pytest.mark.parametrize("off", range(9))
def test_the_sum_does_not_depend_on_the_address(off: int, count: int) -> None:
    data = bytes((7 * n * n + 250) % 256 for n in range(off + count + 3))
    assert sum16(memory(data), off, count) == (0xFFFF - internet_checksum(data[off : off + count]))


@pytest.mark.parametrize("byte", [b"\0", b"\xff", b"\x80", b"\0\xff", b"\xff\0"])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 4096, 262_144])
def test_carries_are_added_in(byte: bytes, count: int) -> None:
    data = byte * count
    assert sum16(memory(data), 0, len(data)) == (0xFFFF - internet_checksum(data))


def test_zeros_alone_add_up_to_nothing() -> None:
    assert [sum16(memory(data), 0, len(data)) for data in (b"", bytes(9), b"\xff" * 4)] == [0, 0, 0xFFFF]


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_any_bytes_add_up(data: bytes, off: int, count: int) -> None:
    off = min(off, len(data))
    count = min(count, len(data) - off)
    assert sum16(memory(data), off, count) == (0xFFFF - internet_checksum(data[off : off + count]))


# Search.


@pytest.mark.parametrize(
    ("pattern", "off", "count", "found"),
    [
        (b"ab", 0, 8, 1),
        (b"ab", 2, 6, 3),
        (b"ab", 1, 2, 0),
        (b"ab", 1, 1, -1),
        (b"b", 7, 1, 0),
        (b"", 3, 2, 0),
        (b"xabcxabbx", 0, 8, -1),
        (b"\0", 0, 8, -1),
    ],
)
def test_a_pattern_is_found_in_a_part(pattern: bytes, off: int, count: int, found: int) -> None:
    assert find(memory(b"xabcxabb"), off, count, pattern) == found


def fed(pieces: list[bytes], pattern: bytes) -> int:
    """Where a search finds a pattern in pieces."""
    looking = search(pattern)
    for piece in pieces:
        found = looking.feed(memory(piece), 0, len(piece))
        if found >= 0:
            return found
    return looking.rest()


@pytest.mark.parametrize(
    ("pieces", "pattern", "found"),
    [
        ([], b"a", -1),
        ([b"", b""], b"a", -1),
        ([b"a"], b"a", 0),
        ([b"xa", b"bx"], b"ab", 1),
        ([b"xxa", b"", b"b", b"cx"], b"abc", 2),
        ([b"ab", b"ab", b"abc"], b"abc", 4),
        ([b"aaaaaa", b"ab"], b"aab", 5),
        ([b"abab", b"abac"], b"ababac", 2),
        ([b"hello, wo", b"rld"], b"world", 7),
        ([b"a", b"b", b"c", b"d"], b"abcd", 0),
        ([b"a", b"b", b"c", b"d"], b"abcde", -1),
    ],
)
def test_a_pattern_is_found_across_pieces(pieces: list[bytes], pattern: bytes, found: int) -> None:
    assert fed(pieces, pattern) == found


def test_the_first_of_two_matches_is_found() -> None:
    assert fed([b"xxab", b"cxxabc"], b"abc") == 2
    assert fed([b"xabcxxab", b"cxxabc"], b"abc") == 1


@given(st.lists(st.text("ab", max_size=6), max_size=8), st.text("ab", min_size=1, max_size=9))
def test_it_makes_no_difference_how_bytes_are_cut(pieces: list[str], pattern: str) -> None:
    assert fed([piece.encode() for piece in pieces], pattern.encode()) == "".join(pieces).find(pattern)


def test_a_search_keeps_no_more_than_it_needs() -> None:
    looking = search(b"x" * 10)
    piece = memory(b"aaa")
    for _ in range(1000):
        assert looking.feed(piece, 0, 3) == -1
    assert looking.rest() == -1


def test_nothing_cannot_be_looked_for() -> None:
    with pytest.raises(IndexError, match="the pattern is empty"):
        search(b"")


# Bounds.

VERBS = {
    "copy_out": lambda m, off, count: copy_out(m, off, count, bytearray(8), 0),
    "sum16": sum16,
    "find": lambda m, off, count: find(m, off, count, b"a"),
    "feed": lambda m, off, count: search(b"a").feed(m, off, count),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("off", "count"), OUTSIDE)
def test_nothing_beside_a_memory_is_looked_at(verb: str, off: int, count: int) -> None:
    with pytest.raises(IndexError, match="of 8"):
        VERBS[verb](memory(b"01234567"), off, count)


@pytest.mark.parametrize("verb", VERBS)
def test_where_there_is_not_a_memory_nothing_is_looked_at(verb: str) -> None:
    with pytest.raises((TypeError, AttributeError)):
        VERBS[verb](None, 0, 0)
