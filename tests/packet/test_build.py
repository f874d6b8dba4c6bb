"""Chains made of bytes: freebsd-13.md, 3.4 (m_devget), 3.7 (m_uiotombuf), 8.1 and 8.4."""

from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from mbuf import (
    M_EOR,
    M_EXTPG,
    M_PKTHDR,
    M_RDONLY,
    M_WAITOK,
    MCLBYTES,
    MHLEN,
    MLEN,
    Freed,
    Inval,
    Mbuf,
    NoBufs,
    Pool,
)
from mbuf.packet.build import fill_chain, from_device, from_rx, from_rx_each
from mbuf.vm.buffer_export import export_buffer

#: A mbuf with header, a plain one, one with a cluster, one with a page.
H, M, C, J = MHLEN, MLEN, MCLBYTES, 4096
BAD = [2**31, 2**32, 2**63, 2**64, -1, -(2**31), -(2**63) - 1]
NO_NUMBER = [1.5, None, "1"]


def shape(m: Mbuf) -> list[tuple[int, int, int]]:
    """Size, offset and length of each mbuf."""
    found, n = [], m
    while n is not None:
        found.append((n.size, n.offset, n.len))
        n = n.next  # type: ignore[assignment]
    return found


def some(count: int) -> bytes:
    return (bytes(range(251)) * (count // 251 + 1))[:count]


# frombytes.


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (0, [H]),
        (1, [H]),
        (168, [H]),
        (169, [C]),
        (2048, [C]),
        (2049, [J]),
        (4096, [J]),
        (4097, [J, M]),
        (4264, [J, M]),
        (4265, [J, C]),
        (6144, [J, C]),
        (6145, [J, J]),
        (8192, [J, J]),
        (8193, [J, J, M]),
        (10000, [J, J, C]),
        (65536, [J] * 16),
    ],
)
def test_frombytes_takes_mbufs_as_large_as_fit(pool: Pool, count: int, sizes: list[int]) -> None:
    m = pool.frombytes(some(count))
    assert [size for size, _, _ in shape(m)] == sizes
    assert (bytes(m), m.pkthdr.len, m.flags & M_PKTHDR) == (some(count), count, M_PKTHDR)
    assert all(offset == 0 for _, offset, _ in shape(m))
    # All but the last are full.
    assert all(size == len for size, _, len in shape(m)[:-1])
    m.freem()


@pytest.mark.parametrize(("count", "sizes"), [(0, [M]), (168, [M]), (169, [C]), (224, [C]), (2049, [J])])
def test_frombytes_without_a_header(pool: Pool, count: int, sizes: list[int]) -> None:
    m = pool.frombytes(some(count), flags=0)
    assert [size for size, _, _ in shape(m)] == sizes
    assert (bytes(m), m.flags & M_PKTHDR) == (some(count), 0)
    m.freem()


@pytest.mark.parametrize(
    ("count", "align", "shapes"),
    [
        (0, 10, [(H, 10, 0)]),
        (100, 14, [(H, 14, 100)]),
        (154, 14, [(H, 14, 154)]),
        (155, 14, [(C, 14, 155)]),
        (2034, 14, [(C, 14, 2034)]),
        (2048, 14, [(J, 14, 2048)]),
        (4096, 14, [(J, 14, 4082), (M, 0, 14)]),
        (1, 167, [(H, 167, 1)]),
        (2, 167, [(C, 167, 2)]),
    ],
)
def test_frombytes_leaves_room_before_the_bytes(
    pool: Pool, count: int, align: int, shapes: list[tuple[int, int, int]]
) -> None:
    m = pool.frombytes(some(count), align=align)
    assert (shape(m), bytes(m), m.pkthdr.len) == (shapes, some(count), count)
    m.freem()


def test_frombytes_takes_any_contiguous_buffer(pool: Pool) -> None:
    for data in (
        bytearray(b"abcdef"),
        array("H", b"abcdef"),
        memoryview(b"..abcdef..")[2:8],
    ):
        m = pool.frombytes(data)
        assert (bytes(m), m.writable) == (b"abcdef", True)
        m.freem()


def test_frombytes_is_a_copy(pool: Pool) -> None:
    data = bytearray(b"abcdef")
    m = pool.frombytes(data)
    data[:] = b"xxxxxx"
    data.append(1)
    assert bytes(m) == b"abcdef"
    m.freem()


def test_frombytes_takes_the_flags_of_a_new_chain(pool: Pool) -> None:
    m = pool.frombytes(some(5000), flags=M_PKTHDR | M_EOR | M_RDONLY)
    last = m.last()
    assert (m.flags & (M_EOR | M_RDONLY), last.flags & (M_EOR | M_RDONLY)) == (0, M_EOR)
    m.freem()


@pytest.mark.parametrize("align", [168, *BAD])
def test_frombytes_refuses_more_room_than_an_mbuf_has(pool: Pool, align: int) -> None:
    with pytest.raises(Inval, match="align"):
        pool.frombytes(b"x", align=align)
    assert pool.out == 0


@pytest.mark.parametrize("name", ["how", "flags"])
@pytest.mark.parametrize("value", [M_EXTPG | M_PKTHDR, 1 << 24, *BAD])
def test_frombytes_refuses_what_no_allocation_can_be_requested(pool: Pool, name: str, value: int) -> None:
    with pytest.raises(Inval):
        pool.frombytes(b"x", **{name: value})
    assert pool.out == 0


@pytest.mark.parametrize("name", ["how", "flags", "align"])
@pytest.mark.parametrize("value", NO_NUMBER)
def test_frombytes_needs_numbers(pool: Pool, name: str, value: Any) -> None:
    with pytest.raises(TypeError):
        pool.frombytes(b"x", **{name: value})
    assert pool.out == 0


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_frombytes_waits_no_negative_time(pool: Pool, timeout: float) -> None:
    with pytest.raises(Inval, match="timeout"):
        pool.frombytes(b"x", M_WAITOK, timeout=timeout)
    assert pool.out == 0


NO_BYTES = [memoryview(bytes(20))[::2], None, 5, "text", object()]


@pytest.mark.parametrize("data", NO_BYTES, ids=lambda data: type(data).__name__)
@pytest.mark.parametrize("make_one", ["frombytes", "devget"])
def test_what_has_no_bytes_in_a_row_leaves_nothing(pool: Pool, make_one: str, data: Any) -> None:
    with pytest.raises((TypeError, BufferError)):
        getattr(pool, make_one)(data)
    assert pool.out == 0


@pytest.mark.parametrize("make_one", ["frombytes", "devget"])
@pytest.mark.parametrize("k", range(6))
def test_the_kth_failure_leaves_nothing(small: Callable[..., Pool], make_one: str, k: int) -> None:
    pool = small(clusters=10, jumbop=1)
    held = [pool.getjcl(), *(pool.getcl() for _ in range(10 - k))]
    out, free = pool.out, pool.zones.mbuf.used
    with pytest.raises(NoBufs) as caught:
        getattr(pool, make_one)(some((k + 1) * C))
    assert caught.value.zone == "mbuf_cluster"
    assert (pool.out, pool.zones.mbuf.used) == (out, free)
    if k:
        m = getattr(pool, make_one)(some(k * C))
        assert bytes(m) == some(k * C)
        m.freem()
    while held:
        held.pop().free()


@pytest.mark.parametrize("make_one", ["frombytes", "devget"])
def test_what_fails_for_want_of_mbufs_leaves_nothing(small: Callable[..., Pool], make_one: str) -> None:
    pool, held = small(), []
    with suppress(NoBufs):
        while True:
            held.append(pool.get())
    out = pool.out
    for data in (b"x", some(C + 1), some(3 * C + 1)):
        with pytest.raises(NoBufs):
            getattr(pool, make_one)(data)
        assert (pool.out, pool.zones.pack.used) == (out, 0)
    while held:
        held.pop().free()


# devget.


@pytest.mark.parametrize(
    ("count", "off", "shapes"),
    [
        # freebsd-13.md, 8.4: 104 - 88 is 16.
        (60, 0, [(H, 16, 60)]),
        (152, 0, [(H, 16, 152)]),
        (153, 0, [(H, 0, 153)]),
        (168, 0, [(H, 0, 168)]),
        (169, 0, [(C, 0, 169)]),
        (2048, 0, [(C, 0, 2048)]),
        (2049, 0, [(C, 0, 2048), (M, 0, 1)]),
        (2048 + 168, 0, [(C, 0, 2048), (M, 0, 168)]),
        (2048 + 169, 0, [(C, 0, 2048), (C, 0, 169)]),
        (6000, 0, [(C, 0, 2048), (C, 0, 2048), (C, 0, 1904)]),
        (60, 14, [(H, 30, 60)]),
        (138, 14, [(H, 30, 138)]),
        (139, 14, [(H, 14, 139)]),
        (154, 14, [(H, 14, 154)]),
        (155, 14, [(C, 14, 155)]),
        # Only the first mbuf has the room.
        (2048, 14, [(C, 14, 2034), (M, 0, 14)]),
        (1, 167, [(H, 167, 1)]),
        (1, 168, [(C, 168, 1)]),
        (3000, 168, [(C, 168, 1880), (C, 0, 1120)]),
    ],
)
def test_devget_makes_a_packet_as_a_driver_does(
    pool: Pool, count: int, off: int, shapes: list[tuple[int, int, int]]
) -> None:
    m = pool.devget(some(count), off, "em0")
    assert (shape(m), bytes(m)) == (shapes, some(count))
    assert (m.pkthdr.len, m.pkthdr.rcvif, m.flags & M_PKTHDR) == (count, "em0", M_PKTHDR)
    m.freem()


def test_devget_leaves_room_for_the_largest_link_header(make: Callable[..., Pool]) -> None:
    pool = make(max_linkhdr=32)
    for count, offset in ((136, 32), (137, 0)):
        m = pool.devget(some(count))
        assert shape(m) == [(H, offset, count)]
        m.freem()


@pytest.mark.parametrize("off", [169, *BAD])
def test_devget_refuses_more_room_than_an_mbuf_has(pool: Pool, off: int) -> None:
    with pytest.raises(Inval, match="off"):
        pool.devget(b"x", off)
    assert pool.out == 0


@pytest.mark.parametrize("off", NO_NUMBER)
def test_devget_needs_a_number(pool: Pool, off: Any) -> None:
    with pytest.raises(TypeError):
        pool.devget(b"x", off)
    assert pool.out == 0


def test_devget_refuses_a_packet_of_no_bytes(pool: Pool) -> None:
    with pytest.raises(Inval, match="0 bytes"):
        pool.devget(b"")
    assert pool.out == 0


def test_devget_lets_a_driver_copy(pool: Pool) -> None:
    data = array("I", some(5000))
    pieces: list[tuple[int, int, bool]] = []

    def copy(source: memoryview, target: memoryview) -> None:
        pieces.append((source.nbytes, target.nbytes, target.readonly))
        target[:] = bytes(byte ^ 0xFF for byte in source)

    m = pool.devget(data, 14, None, copy)
    assert pieces == [(2034, 2034, False), (2048, 2048, False), (918, 918, False)]
    assert bytes(m) == bytes(byte ^ 0xFF for byte in some(5000))
    m.freem()


@pytest.mark.parametrize("k", range(3))
def test_a_copy_that_raises_leaves_nothing(pool: Pool, k: int) -> None:
    calls: list[int] = []

    def copy(source: memoryview, target: memoryview) -> None:
        calls.append(len(source))
        if len(calls) > k:
            raise KeyError(k)

    with pytest.raises(KeyError):
        pool.devget(some(5000), copy=copy)
    assert (len(calls), pool.out) == (k + 1, 0)


@pytest.mark.parametrize("copy", [1, "copy", b""])
def test_what_cannot_be_called_copies_nothing(pool: Pool, copy: Any) -> None:
    with pytest.raises(TypeError):
        pool.devget(b"x", copy=copy)
    assert pool.out == 0


def test_what_a_copy_kept_of_its_target_keeps_the_memory(make: Callable[..., Pool]) -> None:
    pool = make()
    kept: list[memoryview] = []
    m = pool.devget(b"abc", copy=lambda source, target: kept.append(target))
    kept[0][:] = b"xyz"
    assert bytes(m) == b"xyz"
    m.freem()
    assert (bytes(kept[0]), pool.zones.mbuf.held) == (b"xyz", 1)
    kept.pop().release()


def test_only_mbufs_that_are_live_are_landed(pool: Pool) -> None:
    gone = pool.getcl()
    gone.freem()
    like = pool.gethdr()
    for thing, error in ((None, TypeError), (5, TypeError), (gone, Freed)):
        with pytest.raises(error):
            from_rx([thing], 5)
        with pytest.raises(error):
            from_rx_each([thing], 5, 5, like.pkthdr, 0)
    with pool.getcl() as m, pytest.raises(IndexError):
        from_rx([m], -1)
    for size, each in ((0, 5), (5, 0), (-5, 5), (5, -5), (11, 5)):
        kept: list[Any] = [pool.getcl(), pool.getcl()]
        with pytest.raises(IndexError):
            from_rx_each(kept, size, each, like.pkthdr, 0)
        pool.free_bulk(kept)
    like.freem()


def test_what_was_written_to_posted_mbufs_is_a_packet(pool: Pool) -> None:
    posted: list[Any] = [pool.getcl(flags=0).append(bytes([n]) * 2048) for n in range(4)]
    m = from_rx(posted, 5000)
    # The last one of the list first, and what is left of the third.
    assert bytes(m) == b"\3" * 2048 + b"\2" * 2048 + b"\1" * 904
    assert (m.pkthdr.len, m.flags & M_PKTHDR, len(posted)) == (5000, M_PKTHDR, 1)
    m.pkthdr.flowid = 7
    n = from_rx(posted, 10, m.pkthdr, M_EOR)
    assert (bytes(n), n.pkthdr.len, n.pkthdr.flowid, n.flags & M_EOR, posted) == (bytes(10), 10, 7, M_EOR, [])
    posted = [pool.getcl(flags=0).append(bytes([n]) * 100) for n in range(5)]
    packets = from_rx_each(posted, 350, 100, m.pkthdr, 0)
    assert [bytes(one) for one in packets] == [b"\4" * 100, b"\3" * 100, b"\2" * 100, b"\1" * 50]
    assert [(one.pkthdr.len, one.pkthdr.flowid) for one in packets] == [(100, 7)] * 3 + [(50, 7)]
    pool.free_bulk([m, n, *packets, *posted])


def test_nothing_is_made_of_nothing() -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="give the chain"):
        fill_chain(nothing, export_buffer(b"x"), 0)
    with pytest.raises(TypeError, match="give a source"):
        from_device(nothing, export_buffer(b"x"), 0, None, None, None)


def test_devget_calls_a_driver_when_it_has_all_its_mbufs(small: Callable[..., Pool]) -> None:
    pool = small(clusters=2, mbufs=20)
    calls: list[int] = []

    def copy(source: memoryview, target: memoryview) -> None:
        calls.append(pool.out)
        target[:] = source

    data = some(4000)
    m = pool.devget(data, copy=copy)
    assert (bytes(m), calls) == (data, [2, 2])
    m.freem()
    calls.clear()
    with pytest.raises(NoBufs):
        pool.devget(some(9000), copy=copy)
    assert (calls, pool.out) == ([], 0)


@pytest.mark.parametrize("junk", [5, "copy", b""])
def test_devget_refuses_a_driver_that_cannot_be_called(pool: Pool, junk: Any) -> None:
    with pytest.raises(TypeError, match="copy must be a function"):
        pool.devget(b"abc", copy=junk)


def test_data_may_be_resized_again_afterwards(pool: Pool) -> None:
    for verb in (pool.frombytes, pool.devget):
        data = bytearray(some(3000))
        m = verb(data)
        data.append(1)
        m.freem()
        with pytest.raises(Inval):
            verb(data, **({"align": -1} if verb == pool.frombytes else {"off": -1}))
        data.append(2)
