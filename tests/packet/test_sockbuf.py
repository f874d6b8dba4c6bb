from collections.abc import Callable
from typing import Any

import pytest

from chains import exhaust
from mbuf import (
    M_EXT,
    M_EXTPG,
    M_NOTREADY,
    M_PKTHDR,
    MCLBYTES,
    MJUM16BYTES,
    MLEN,
    MSIZE,
    MT_CONTROL,
    Busy,
    Freed,
    Inval,
    Mbuf,
    NoBufs,
    Pool,
    SockBuf,
    StreamBuffer,
)


def jumbo(pool: Pool, data: bytes) -> Mbuf:
    return pool.getjcl(size=MJUM16BYTES, flags=0).append(data)


def lent(pool: Pool, data: bytes) -> Mbuf:
    """External bytes without room after them."""
    return pool.wrap(data)


def counts(buffer: SockBuf) -> tuple[int, int, int, int]:
    return buffer.cc, buffer.mcnt, buffer.ccnt, buffer.mbcnt


def test_what_goes_in_comes_out_in_order(pool: Pool) -> None:
    buffer = SockBuf()
    for data in (b"one", b"two", b"three"):
        buffer.append(lent(pool, data))
    assert (len(buffer), bytes(buffer), bool(buffer)) == (11, b"onetwothree", True)
    assert [bytes(view) for view in buffer] == [b"one", b"two", b"three"]
    with buffer.take(6) as m:
        assert bytes(m) == b"onetwo"
    buffer.drop(2)
    with buffer.take(3) as m:
        assert bytes(m) == b"ree"
    assert (counts(buffer), list(buffer), bytes(buffer), bool(buffer), buffer.first) == (
        (0, 0, 0, 0),
        [],
        b"",
        False,
        None,
    )


def test_memory_is_counted_as_the_kernel_does(pool: Pool) -> None:
    buffer = SockBuf()
    buffer.append(pool.get().append(b"x" * MLEN))
    assert counts(buffer) == (MLEN, 1, 0, MSIZE)
    buffer.append(pool.getcl().append(b"y" * MCLBYTES))
    assert counts(buffer) == (MLEN + MCLBYTES, 2, 1, 2 * MSIZE + MCLBYTES)
    buffer.append(jumbo(pool, b"z" * 1000))
    assert counts(buffer) == (MLEN + MCLBYTES + 1000, 3, 2, 3 * MSIZE + MCLBYTES + MJUM16BYTES)
    buffer.drop(MLEN + MCLBYTES)
    assert counts(buffer) == (1000, 1, 1, MSIZE + MJUM16BYTES)
    buffer.clear()
    assert counts(buffer) == (0, 0, 0, 0)


def test_headers_go_and_so_do_empty_mbufs(pool: Pool) -> None:
    buffer = SockBuf()
    m = pool.getcl().append(b"a" * 600)
    m.next = pool.get()
    m.next.next = pool.getcl().append(b"b" * 600)
    buffer.append(m)
    buffer.append(pool.getcl())
    assert counts(buffer) == (1200, 2, 2, 2 * (MSIZE + MCLBYTES))
    first = buffer.first
    assert first is m
    assert first.next is not None
    assert (first.flags, first.next.flags) == (M_EXT, M_EXT)
    buffer.clear()


def test_a_little_is_copied_behind_what_is_there(pool: Pool) -> None:
    buffer = SockBuf()
    for n in range(1000):
        buffer.append(pool.getcl().append(bytes([n % 256])))
    assert counts(buffer) == (1000, 1, 1, MSIZE + MCLBYTES)
    assert bytes(buffer) == bytes(n % 256 for n in range(1000))
    buffer.append(pool.getcl().append(b"x" * 513))
    assert buffer.mcnt == 2
    buffer.clear()


@pytest.mark.parametrize(
    "build",
    [
        lambda pool: pool.get(type=MT_CONTROL).append(b"x"),
        lambda pool: pool.frombytes(b"x", flags=M_EXTPG),
        lambda pool: pool.getcl(flags=0).append(b"x" * 513),
    ],
    ids=["another type", "unmapped pages", "too much"],
)
def test_what_is_copied_is_little_of_one_type_in_a_row(pool: Pool, build: Callable[[Pool], Mbuf]) -> None:
    buffer = SockBuf()
    buffer.append(jumbo(pool, b"x"))
    buffer.append(build(pool))
    assert buffer.mcnt == 2
    buffer.clear()


def test_nothing_is_copied_behind_shared_bytes(pool: Pool) -> None:
    buffer = SockBuf()
    m = pool.getcl().append(b"x" * 1000)
    copy = m.copypacket()
    buffer.append(m)
    buffer.append(pool.get().append(b"y"))
    assert (buffer.mcnt, bytes(copy)) == (2, b"x" * 1000)
    copy.freem()
    buffer.clear()


def test_taking_whole_mbufs_needs_no_other(small: Callable[..., Pool]) -> None:
    pool = small()
    buffer = SockBuf()
    mbufs = [pool.get().append(b"x" * MLEN) for _ in range(3)]
    for m in mbufs:
        buffer.append(m)
    others = exhaust(pool.get)
    assert buffer.take(2 * MLEN) is mbufs[0]
    assert (mbufs[0].next, mbufs[1].next) == (mbufs[1], None)
    assert buffer.take(MLEN) is mbufs[2]
    mbufs[0].freem()
    mbufs[2].freem()
    pool.free_bulk(others)


def test_without_an_mbuf_to_cut_with_nothing_has_changed(small: Callable[..., Pool]) -> None:
    pool = small()
    buffer = SockBuf()
    for byte in (b"x", b"y"):
        buffer.append(lent(pool, byte * 1000))
    others = exhaust(pool.get)
    before = counts(buffer)
    with pytest.raises(NoBufs):
        buffer.take(1500)
    assert (counts(buffer), bytes(buffer)) == (before, b"x" * 1000 + b"y" * 1000)
    assert buffer.peek(1001) == b"x" * 1000 + b"y"
    buffer.drop(1500)
    with buffer.take(500) as m:
        assert bytes(m) == b"y" * 500
    pool.free_bulk(others)


CUTS = [1, MLEN, MLEN + 1, 5000, 10_000 - MLEN - 1, 10_000 - MLEN, 9_999]


@pytest.mark.parametrize("at", CUTS)
@pytest.mark.parametrize("before", [0, 700])
@pytest.mark.parametrize("after", [0, 700])
def test_an_mbuf_is_cut_anywhere(pool: Pool, at: int, before: int, after: int) -> None:
    data = bytes(n * n % 251 for n in range(10_000))
    whole = b"b" * before + data + b"a" * after
    buffer = SockBuf()
    for part in (whole[:before], data, whole[before + len(data) :]):
        if part:
            buffer.append(jumbo(pool, part))
    m = buffer.take(before + at)
    assert bytes(m) == whole[: before + at]
    assert bytes(buffer) == whole[before + at :]
    assert m.flags & M_PKTHDR == 0
    assert m.sanity()
    assert buffer.mcnt == sum(1 for _ in buffer) == 1 + bool(after)
    small = min(at, len(data) - at) <= MLEN
    assert buffer.first.writable is (at <= MLEN or small)
    buffer.append(jumbo(pool, b"end"))
    assert bytes(buffer) == whole[before + at :] + b"end"
    m.freem()
    while buffer:
        buffer.drop(1)
    assert counts(buffer) == (0, 0, 0, 0)


def test_a_short_piece_holds_no_cluster(pool: Pool) -> None:
    buffer = SockBuf()
    buffer.append(jumbo(pool, b"x" * 16_000))
    with buffer.take(MLEN) as short:
        assert not short.flags & M_EXT
        assert buffer.first.writable
        with buffer.take(1000) as long:
            assert long.ext is not None
            assert long.ext.id == buffer.first.ext.id
    with buffer.take(15_000 - MLEN - 10):
        assert not buffer.first.flags & M_EXT
    buffer.clear()


def test_unmapped_pages_are_shared(pool: Pool) -> None:
    data = bytes(range(256)) * 32
    buffer = SockBuf()
    buffer.append(pool.frombytes(data, flags=M_EXTPG))
    taken = []
    while buffer:
        taken.append(buffer.take(min(1000, len(buffer))))
    assert all(m.flags & M_EXTPG for m in taken)
    assert b"".join(map(bytes, taken)) == data
    pool.free_bulk(taken)


def test_no_bytes_are_none(pool: Pool) -> None:
    buffer = SockBuf()
    assert buffer.take(0) is None
    buffer.drop(0)
    assert buffer.peek(10) == b""
    buffer.append(lent(pool, b"x"))
    assert buffer.take(0) is None
    assert (buffer.peek(0), buffer.peek(-1), buffer.peek(1 << 80)) == (b"", b"", b"x")
    buffer.clear()


@pytest.mark.parametrize("verb", ["take", "drop"])
@pytest.mark.parametrize("n", [-1, 4, 1 << 80])
def test_only_what_is_there_can_go(pool: Pool, verb: str, n: int) -> None:
    buffer = SockBuf()
    buffer.append(lent(pool, b"xyz"))
    with pytest.raises(Inval, match=f"{verb} -?[0-9]+ bytes: give 0 to 3"):
        getattr(buffer, verb)(n)
    assert len(buffer) == 3
    buffer.clear()


def test_what_cannot_be_appended_stays_the_callers(pool: Pool) -> None:
    buffer = SockBuf()
    m = pool.getcl().append(b"x" * 1000)
    n = pool.getcl().append(b"y" * 1000)
    m.nextpkt = n
    with pytest.raises(Inval, match="next packet"):
        buffer.append(m)
    m.nextpkt = None
    m.flags |= M_NOTREADY
    with pytest.raises(Inval, match="aren't ready"):
        buffer.append(m)
    m.flags &= ~M_NOTREADY
    buffer.append(m)
    buffer.append(n)
    for twice in (m, n):
        with pytest.raises(Inval, match="in a buffer or queue already"):
            buffer.append(twice)
    assert bytes(buffer) == b"x" * 1000 + b"y" * 1000
    buffer.clear()
    with pytest.raises(Freed):
        buffer.append(m)
    junk: Any
    for junk in (None, b"x"):
        with pytest.raises((Inval, TypeError, AttributeError)):
            buffer.append(junk)


def test_a_buffer_owns_what_is_in_it(make: Callable[..., Pool]) -> None:
    pool = make()
    buffer = SockBuf()
    for _ in range(3):
        buffer.append(lent(pool, b"x"))
    del buffer
    assert (pool.out, pool.stat().drops) == (0, 3)


def test_an_mbuf_that_was_freed_inside_the_buffer_is_dropped(pool: Pool) -> None:
    buffer = SockBuf()
    mbufs = [lent(pool, b"x" * 1000) for _ in range(3)]
    for m in mbufs:
        buffer.append(m)
    mbufs[1].free()
    # The buffer ends before it.
    for verb in (buffer.drop, buffer.take):
        with pytest.raises(Inval, match="give 0 to 1000"):
            verb(1500)
    buffer.clear()
    mbufs[2].freem()
    assert counts(buffer) == (0, 0, 0, 0)


def test_many_small_pieces_take_time_for_each(make: Callable[..., Pool]) -> None:
    pool = make(mem=1 << 36)
    buffer = SockBuf(1 << 20)
    for n in range(20_000):
        buffer.append(lent(pool, bytes([n & 0xFF])))
    assert buffer.mcnt == 20_000
    for n in range(20_000):
        with buffer.take(1) as m:
            assert m.data[0] == n & 0xFF


@pytest.mark.parametrize("way", ["unlinks", "frees", "cuts"])
def test_mbufs_that_change_while_one_is_requested_are_not_taken(pool: Pool, way: str) -> None:
    buffer = SockBuf(1 << 20)
    row = [pool.getcl(flags=0).append(bytes(2000)) for _ in range(3)]
    for m in row:
        buffer.append(m)

    def meddle(*_: object) -> None:
        if way == "unlinks":
            row[0].next = None
        elif way == "frees":
            row[1].freem()
        else:
            row[1].adj(1990)

    error = Busy if way == "cuts" else Inval
    with pool.probes.attached("m-get", meddle), pytest.raises(error):
        buffer.take(3000)
    assert buffer.cc == {"unlinks": 2000, "frees": 2000, "cuts": 6000}[way]
    buffer.clear()
    if way == "unlinks":
        row[1].freem()
    assert pool.out == 0


def test_a_buffer_is_made_once(pool: Pool) -> None:
    buffer = SockBuf()
    buffer.append(pool.getcl().append(b"here"))
    with pytest.raises(TypeError, match="initialized again"):
        buffer.__init__()  # type: ignore[misc]
    assert bytes(buffer) == b"here"
    buffer.clear()


def test_a_buffer_that_was_never_made_raises_an_error(pool: Pool) -> None:
    class Mine(SockBuf):
        def __init__(self) -> None:
            pass

    m = pool.getcl().append(b"mine")
    with pytest.raises(Inval, match=r"call super\(\).__init__\(\)"):
        Mine().append(m)
    m.free()


def test_what_was_taken_is_given_though_resume_raises(pool: Pool, unraisable: list[BaseException]) -> None:
    def resume() -> None:
        raise KeyError

    buffer = SockBuf(1000, 100, resume=resume)
    buffer.append(pool.getcl().append(bytes(1500)))
    m = buffer.take(1500)
    assert (m.len, list(map(type, unraisable)), buffer.full) == (1500, [KeyError], False)
    m.free()


def test_what_comes_into_the_middle_is_searched(pool: Pool) -> None:
    buffer = StreamBuffer()
    parts = [pool.getcl().append(text.ljust(1000, b".")) for text in (b"a", b"b", b"c")]
    for m in parts:
        buffer.append(m)
    assert buffer.find(b"END") == -1
    parts[0].next = None
    parts[1].freem()
    fresh = pool.getcl().append(b"END".rjust(1000, b".") + bytes(1000))
    parts[0].next = fresh
    assert buffer.find(b"END") == bytes(buffer).find(b"END") == 1997
    buffer.clear()


def test_the_first_bytes_are_seen_in_pieces(pool: Pool) -> None:
    buffer = SockBuf()
    assert buffer.views(5, 100) == []
    buffer.append(pool.getcl().append(b"first"))
    buffer.append(pool.frombytes(b"x" * 5000, flags=M_EXTPG))
    buffer.append(pool.wrap(b"last"))
    for count, size, sizes in ((9, 9999, [5, 4096, 904, 4]), (2, 9999, [5, 4096]), (9, 6, [5, 4096, 904]), (9, 5, [5])):
        assert [len(view) for view in buffer.views(count, size)] == sizes
    views = buffer.views(9, 9999)
    assert b"".join(views) == b"first" + b"x" * 5000 + b"last"
    assert [view.readonly for view in views] == [False, True, True, True]
    del views
    buffer.clear()


def test_freeing_the_first_mbuf_leaves_the_buffer_empty(pool: Pool) -> None:
    buffer = SockBuf()
    mbufs = [lent(pool, b"x" * 1000) for _ in range(2)]
    for m in mbufs:
        buffer.append(m)
    mbufs[0].free()
    with pytest.raises(Inval, match="give 0 to 0"):
        buffer.drop(1)
    assert (counts(buffer), bytes(buffer), pool.out) == ((0, 0, 0, 0), b"", 1)
    buffer.append(mbufs[1])
    assert bytes(buffer) == b"x" * 1000
    buffer.clear()


def test_a_view_keeps_a_full_buffer(pool: Pool) -> None:
    buffer = SockBuf()
    buffer.append(lent(pool, b"x" * 1000), check_full=False)
    assert counts(buffer)[0] == 1000
    buffer.clear()


def test_an_mbuf_that_was_emptied_in_the_buffer_has_no_view(pool: Pool) -> None:
    buffer = SockBuf()
    mbufs = [lent(pool, bytes([n]) * 1000) for n in range(2)]
    for m in mbufs:
        buffer.append(m)
    mbufs[0].len = 0
    views = buffer.views(2, 2000)
    assert [bytes(view) for view in views] == [b"\1" * 1000]
    del views
    mbufs[0].len = 1000
    buffer.clear()
    assert (counts(buffer), pool.out) == ((0, 0, 0, 0), 0)
