"""`append`, `prepend`, `copyback` and `makespace`."""

from collections.abc import Callable
from typing import Any

import pytest

from chains import lens, mbufs, sample
from faults import FaultInjector
from mbuf import M_EOR, M_EXT, M_NOWAIT, M_PKTHDR, M_RDONLY, MT_CONTROL, Inval, Mbuf, Pool, ReadOnly
from packet.alloc_failures import fail_on_all_layouts
from packet.snapshot import offsets_and_lens, snapshot
from packet.verb_cases import VerbCase, chain, check_all_layouts

#: A debug pool finds writes to freed memory.
POOL_KINDS = ["debug"]


def prepended(size: int) -> VerbCase:
    """The new bytes are undefined, so the case writes them."""

    def call(m: Mbuf, keywords: dict[str, Any]) -> Mbuf:
        assert m.prepend(size, **keywords) is m
        assert m.len >= size
        return m.copyback(0, b"p" * size)

    return VerbCase(f"prepend {size}", call, lambda data: b"p" * size + data, may_wait=True)


def copied_back(off: Callable[[int], int], size: int) -> VerbCase:
    def left(data: bytes) -> bytes:
        at = off(len(data))
        return data[:at] + bytes(max(at - len(data), 0)) + b"c" * size + data[at + size :]

    return VerbCase(
        f"copyback {size} at {off(100)}",
        lambda m, keywords: m.copyback(off(len(m)), b"c" * size),
        left,
        overwrites=off(100) < 100,
        needs_contiguous=off(100) < 100,
    )


def spaced(skip: Callable[[int], int], size: int) -> VerbCase:
    def call(m: Mbuf, keywords: dict[str, Any]) -> Mbuf:
        n, at = m.makespace(skip(len(m)), size)
        if size:
            n.data[at : at + size] = b"s" * size
        return m

    def left(data: bytes) -> bytes:
        at = skip(len(data))
        return data[:at] + b"s" * size + data[at:]

    return VerbCase(f"makespace {size} at {skip(100)}", call, left, needs_header=True, needs_contiguous=True)


CASES = [
    *(prepended(size) for size in (0, 1, 14, 100, 168)),
    *(
        VerbCase(f"append {n}", lambda m, keywords, n=n: m.append(b"a" * n), lambda data, n=n: data + b"a" * n)
        for n in (0, 60, 5000)
    ),
    copied_back(lambda n: 0, 5),
    copied_back(lambda n: n // 2, 3),
    copied_back(lambda n: n // 2, 5000),
    copied_back(lambda n: n, 1000),
    copied_back(lambda n: n + 1, 1),
    copied_back(lambda n: n + 700, 700),
    *(
        spaced(skip, size)
        for size in (0, 8, 167)
        for skip in (lambda n: 0, lambda n: n // 4, lambda n: n - 1, lambda n: n)
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_bytes_are_right_on_every_layout(make: Callable[..., Pool], case: VerbCase) -> None:
    check_all_layouts(make(debug=True), case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_failing_at_the_kth_request_changes_nothing(make: Callable[..., Pool], case: VerbCase) -> None:
    fail_on_all_layouts(FaultInjector(make(debug=True)), case)


# The mbufs of a chain, as in the kernel.


def test_prepend_without_room_puts_a_new_mbuf_in_front_at_a_multiple_of_8(pool: Pool) -> None:
    m = pool.gethdr().append(b"x" * 20)
    before = m.id
    m.prepend(14)
    n = m.next
    assert offsets_and_lens(m) == [(152, 14), (56, 20)]
    assert (n.id, n.flags & M_PKTHDR, n.leading, m.pkthdr.len) == (before, 0, 56, 34)
    m.freem()


@pytest.mark.parametrize(("get", "most"), [("get", 224), ("gethdr", 168)])
def test_prepend_takes_as_much_as_one_mbuf_holds(pool: Pool, get: str, most: int) -> None:
    m = getattr(pool, get)().append(b"x")
    before = snapshot(pool, m)
    for much in (most + 1, -1):
        with pytest.raises(Inval, match=f"0 to {most}"):
            m.prepend(much)
    assert snapshot(pool, m) == before
    assert m.prepend(most) is m
    assert offsets_and_lens(m)[0] == (0, most)
    m.freem()


@pytest.mark.parametrize("size", [1, 7, 8, 9, 160, 161, 167])
def test_what_is_prepended_ends_near_the_end_of_its_mbuf(pool: Pool, size: int) -> None:
    m = pool.gethdr().append(b"x").prepend(size)
    assert offsets_and_lens(m)[0] == ((168 - size) & ~7, size)
    m.freem()


def test_prepend_uses_the_room_there_is_and_none_that_others_see(pool: Pool) -> None:
    m = pool.getcl()
    m.align(1000)
    m.append(b"x" * 100)
    assert offsets_and_lens(m.prepend(48)) == [(1000, 148)]
    n = m.copypacket()
    m.prepend(0).prepend(8)
    assert (offsets_and_lens(m), offsets_and_lens(n)) == ([(160, 8), (1000, 148)], [(1000, 148)])
    assert (m.pkthdr.len, n.pkthdr.len) == (156, 148)
    n.freem()
    assert offsets_and_lens(m.prepend(8)) == [(152, 16), (1000, 148)]
    m.freem()


def test_a_new_front_mbuf_has_the_type_and_the_flags_of_a_copied_header(pool: Pool) -> None:
    m = pool.getcl(M_NOWAIT, MT_CONTROL, M_PKTHDR | M_EOR).append(b"x").prepend(10)
    assert [(n.type, n.flags) for n in mbufs(m)] == [(MT_CONTROL, M_PKTHDR | M_EOR), (MT_CONTROL, M_EXT | M_EOR)]
    m.freem()


def test_append_fills_the_last_mbuf_and_then_plain_ones(pool: Pool) -> None:
    m = pool.getcl(flags=0).append(b"x" * 2000)
    m.append(b"y" * 500)
    assert (lens(m), [n.flags for n in mbufs(m)]) == ([2048, 224, 224, 4], [M_EXT, 0, 0, 0])
    m.freem()


def test_copyback_fills_a_gap_with_zeros_in_new_mbufs_only(pool: Pool) -> None:
    m = pool.gethdr().append(b"x" * 10)
    m.copyback(12, b"yz")
    assert (lens(m), bytes(m), m.pkthdr.len) == ([10, 4], b"x" * 10 + b"\0\0yz", 14)
    m.copyback(500, b"!")
    assert (lens(m), m.pkthdr.len, bytes(m)[14:]) == ([10, 4, 224, 224, 39], 501, bytes(486) + b"!")
    m.freem()


def test_copyback_goes_on_into_the_room_after_the_last_byte(pool: Pool) -> None:
    m = pool.gethdr().append(b"x" * 100)
    m.copyback(90, b"y" * 300)
    assert (lens(m), m.pkthdr.len) == ([168, 222], 390)
    m.freem()


def test_copyback_writes_where_bytes_are_shared_and_all_see_it(pool: Pool) -> None:
    m = pool.getcl().append(b"shared")
    m.flags |= M_RDONLY
    n = m.copypacket()
    assert m.copyback(1, b"cour").pkthdr.len == 6
    assert bytes(m) == bytes(n) == b"scourd"
    m.copyback(5, b"ge")
    assert (bytes(m), bytes(n), lens(m)) == (b"scourge", b"scourg", [6, 1])
    pool.free_bulk([m, n])


def test_copyback_never_makes_a_packet_shorter(pool: Pool) -> None:
    m = pool.gethdr().append(b"x" * 10)
    m.pkthdr.len = 20
    assert m.copyback(0, b"ab").pkthdr.len == 20
    m.free()


@pytest.mark.parametrize(
    ("pieces", "off", "lens_", "len"),
    [
        ([10], 0, [10], 10),
        ([10], 10, [10], 10),
        ([10], 11, [10, 1], 10),
        ([10], 234, [10, 224], 10),
        ([10], 235, [10, 224, 1], 234),
        ([10, 10], 15, [10, 10], 20),
        ([10, 10], 21, [10, 10, 1], 20),
    ],
)
def test_copyback_of_nothing_beyond_the_end_still_makes_mbufs(
    pool: Pool, pieces: list[int], off: int, lens_: list[int], len: int
) -> None:
    m = chain(pool, *pieces)
    m.copyback(off, b"")
    assert (lens(m), m.pkthdr.len) == (lens_, len)
    m.freem()


def test_copyback_refuses_before_it_writes(pool: Pool) -> None:
    m = pool.gethdr().append(b"writable")
    m.next = pool.wrap(b"lent").demote_pkthdr()
    m.fixhdr()
    before = snapshot(pool, m)
    with pytest.raises(ReadOnly):
        m.copyback(0, b"x" * 9)
    assert snapshot(pool, m) == before
    assert bytes(m.copyback(0, b"x" * 8)) == b"xxxxxxxxlent"
    assert bytes(m.copyback(12, b"more")) == b"xxxxxxxxlentmore"
    m.freem()


@pytest.mark.parametrize("junk", [None, 1, "text", [1]])
@pytest.mark.parametrize("off", [0, 5, 50])
def test_what_has_no_bytes_is_not_copied_back(pool: Pool, junk: object, off: int) -> None:
    m = chain(pool, 10, 10)
    before = snapshot(pool, m)
    with pytest.raises(TypeError):
        m.copyback(off, junk)
    assert snapshot(pool, m) == before
    m.freem()


@pytest.mark.parametrize("off", [0, 5, 15, 300])
def test_what_lies_in_no_row_is_not_copied_back(pool: Pool, off: int) -> None:
    m = chain(pool, 10, 10)
    before = snapshot(pool, m)
    with pytest.raises(BufferError):
        m.copyback(off, memoryview(bytes(600))[::2])
    assert snapshot(pool, m) == before
    m.freem()


def test_bytes_may_be_copied_back_over_themselves(pool: Pool) -> None:
    m = pool.getcl().append(bytes(range(100)))
    with m.data[:90] as data:
        m.copyback(10, data)
    assert bytes(m) == bytes(range(10)) + bytes(range(90))
    m.free()


@pytest.mark.parametrize(
    ("align", "skip", "found", "lens_"),
    [
        # In the room before, where fewer bytes are in front of the gap than behind it.
        (1000, 10, (0, 10), [108]),
        # In the room behind.
        (1000, 90, (0, 90), [108]),
        (2048, 10, (0, 10), [108]),
    ],
)
def test_makespace_moves_the_fewer_bytes(
    pool: Pool, align: int, skip: int, found: tuple[int, int], lens_: list[int]
) -> None:
    m = pool.getcl()
    m.align(align)
    m.append(bytes(100))
    n, at = m.makespace(skip, 8)
    assert ((mbufs(m).index(n), at), lens(m)) == (found, lens_)
    assert (m.offset, m.pkthdr.len) == ((2048 - align) - 8 * (skip < 50 and align < 2048), 108)
    m.free()


def test_makespace_without_room_parts_the_mbuf(pool: Pool) -> None:
    full = pool.gethdr().append(sample(168))
    n, at = full.makespace(100, 40)
    assert (lens(full), n is full, at) == ([140, 68], True, 100)
    shared = pool.getcl().append(sample(2048))
    other = shared.copypacket()
    n, at = shared.makespace(1000, 40)
    assert (lens(shared), n is shared.next, at, bytes(other)) == ([1000, 40, 1048], True, 0, sample(2048))
    assert shared.last().ext is not None
    pool.free_bulk([full, shared, other])


def test_makespace_of_much_that_is_shared_copies_to_clusters(pool: Pool) -> None:
    m = pool.wrap(sample(5000))
    n, at = m.makespace(100, 20)
    assert (lens(m), n is m.next, at) == ([100, 20, 2048, 2048, 804], True, 0)
    assert m.pkthdr.len == 5020
    m.freem()


def test_makespace_stays_inside_the_packet(pool: Pool) -> None:
    m = chain(pool, 10, 10)
    before = snapshot(pool, m)
    for skip, hlen, said in (
        (21, 1, "give 0 to 20"),
        (0, 168, "0 to 167"),
        (0, -1, "0 to 167"),
        (-1, 0, "makespace at"),
    ):
        with pytest.raises(Inval, match=said):
            m.makespace(skip, hlen)
    assert snapshot(pool, m) == before
    m.freem()
