from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbuf import Inval, Mbuf, NoBufs, Pool, StreamBuffer, TooLong, Vm


def fed(pool: Pool, *parts: bytes, **marks: int) -> StreamBuffer:
    """A buffer with these bytes, each in an mbuf of its own."""
    buffer = StreamBuffer(**marks)
    for part in parts:
        buffer.append(pool.wrap(part))
    return buffer


def all_of(m: Mbuf | None) -> bytes | None:
    if m is None:
        return None
    with m:
        return bytes(m)


def test_lines_are_taken_as_they_are_complete(pool: Pool) -> None:
    buffer = fed(pool, b"one\r\ntw", b"o\r", b"\n", b"\r\nrest")
    lines = [all_of(buffer.take_until(b"\r\n")) for _ in range(4)]
    assert lines == [b"one\r\n", b"two\r\n", b"\r\n", None]
    buffer.append(pool.wrap(b"\r\n"))
    assert all_of(buffer.take_until(b"\r\n")) == b"rest\r\n"
    assert len(buffer) == 0


def test_bytes_are_found_across_mbufs(pool: Pool) -> None:
    buffer = fed(pool, b"abc", b"d", b"", b"efab", b"cde")
    found = [buffer.find(b"cdef"), buffer.find(b"cde", 3), buffer.find(b"abcd", 1), buffer.find(b"x")]
    assert found == [2, 8, 6, -1]
    assert (buffer.find(b""), buffer.find(b"", 5)) == (0, 5)
    buffer.clear()


class Interrupted(StreamBuffer):
    """A buffer whose `peek` and `find` call `act` once, after they have done their work."""

    act: Callable[[], object] | None = None

    def _act(self) -> None:
        act, self.act = self.act, None
        if act is not None:
            act()

    def peek(self, n: int) -> bytes:
        data = super().peek(n)
        self._act()
        return data

    def find(self, sep: Any, start: int = 0) -> int:
        found = super().find(sep, start)
        self._act()
        return found


TAKES: dict[str, Callable[[StreamBuffer], bytes | None]] = {
    "read": lambda buffer: buffer.read(4),
    "read_until": lambda buffer: buffer.read_until(b"\n", 100),
    "take_until": lambda buffer: all_of(buffer.take_until(b"\n")),
}


@pytest.mark.parametrize("whole", [True, False], ids=["one mbuf", "many mbufs"])
@pytest.mark.parametrize("inner", TAKES)
@pytest.mark.parametrize("outer", TAKES)
def test_no_byte_is_returned_twice_if_other_code_takes_some_in_the_middle(
    pool: Pool, outer: str, inner: str, whole: bool
) -> None:
    lines = [b"aaa\n", b"bbb\n", b"ccc\n"]
    buffer = Interrupted()
    for part in [b"".join(lines)] if whole else lines:
        buffer.append(pool.wrap(part))
    found: list[bytes | None] = []
    buffer.act = lambda: found.append(TAKES[inner](buffer))
    found.append(TAKES[outer](buffer))
    assert (found, buffer.peek(100)) == (lines[:2], lines[2])
    buffer.clear()


def test_bytes_that_are_appended_in_the_middle_of_a_search_are_searched_later(pool: Pool) -> None:
    buffer = Interrupted()
    buffer.append(pool.wrap(b"no line"))
    buffer.act = lambda: buffer.append(pool.wrap(b" yet\n"))
    assert buffer.read_until(b"\n", 100) is None
    assert buffer.read_until(b"\n", 100) == b"no line yet\n"


@pytest.mark.parametrize("start", [-1, 4])
def test_a_search_begins_in_the_buffer(pool: Pool, start: int) -> None:
    buffer = fed(pool, b"abc")
    assert buffer.find(b"c", 3) == -1
    with pytest.raises(Inval, match=f"find from {start}"):
        buffer.find(b"c", start)
    buffer.clear()


def test_no_byte_is_looked_at_again_and_again(make: Callable[..., Pool]) -> None:
    """20,000 mbufs of one byte are appended, with a search after each."""
    pool = make(mem=1 << 36)
    buffer = StreamBuffer()
    for _ in range(20_000):
        buffer.append(pool.wrap(b"\r"))
        assert buffer.take_until(b"\r\n") is None
    buffer.append(pool.wrap(b"\n"))
    assert buffer.find(b"\r\n") == 19_999
    buffer.clear()


def test_another_search_begins_anew(pool: Pool) -> None:
    buffer = fed(pool, b"a;b,c;d,")
    assert [buffer.find(sep) for sep in (b";", b",", b"d", b";", b",")] == [1, 3, 6, 1, 3]
    buffer.drop(2)
    assert [buffer.find(sep) for sep in (b",", b";", b"d")] == [1, 3, 4]
    buffer.clear()


def test_half_a_separator_that_was_taken_is_forgotten(pool: Pool) -> None:
    buffer = fed(pool, b"a\r")
    assert buffer.take_until(b"\r\n") is None
    buffer.drop(2)
    buffer.append(pool.wrap(b"\nb\r\n"))
    assert all_of(buffer.take_until(b"\r\n")) == b"\nb\r\n"


def test_bytes_are_read_as_a_copy(pool: Pool) -> None:
    buffer = fed(pool, b"one\ntw", b"o\nrest")
    assert [buffer.read_until(b"\n", 100), buffer.read_until(b"\n", 3), buffer.read_until(bytearray(b"\n"), 4)] == [
        b"one\n",
        None,
        b"two\n",
    ]
    assert [buffer.read_until(b"\n", 100), buffer.read(2), buffer.read(100), buffer.read(5)] == [
        None,
        b"re",
        b"st",
        b"",
    ]
    assert buffer.read_until(b"\n", 100) is None
    with pytest.raises(Inval, match="at least one byte"):
        buffer.read_until(b"", 5)
    assert len(buffer) == 0


def test_the_high_mark_of_memory_may_change(pool: Pool) -> None:
    buffer = fed(pool, b"x" * 100)
    buffer.mbmax = 100
    assert (buffer.mbmax, buffer.full, buffer.space) == (100, False, 0)
    buffer.check_full()
    assert buffer.full
    with pytest.raises(Inval, match="mbmax 0"):
        buffer.mbmax = 0
    buffer.clear()
    assert not buffer.full


def test_what_is_too_long_is_refused_and_stays(pool: Pool) -> None:
    buffer = fed(pool, b"12345678\n")
    assert all_of(buffer.take_until(b"\n", 9)) == b"12345678\n"
    buffer.append(pool.wrap(b"12345678\n"))
    with pytest.raises(TooLong, match="isn't among the first 8 bytes"):
        buffer.take_until(b"\n", 8)
    buffer.drop(1)
    assert buffer.take_until(b"x", 9) is None
    with pytest.raises(TooLong):
        buffer.take_until(b"x", 8)
    assert bytes(buffer) == b"2345678\n"
    buffer.clear()


def test_a_buffer_that_is_full_without_a_separator_raises_an_error(pool: Pool) -> None:
    buffer = fed(pool, b"x" * 99, limit=100)
    assert buffer.take_until(b"\n") is None
    buffer.append(pool.wrap(b"x"))
    with pytest.raises(TooLong):
        buffer.take_until(b"\n")
    buffer.clear()


def test_below_the_limit_a_chain_of_any_length_goes_in_and_then_none(pool: Pool) -> None:
    buffer = fed(pool, b"x" * 99, limit=100)
    buffer.append(pool.getcl().append(b"y" * 500))
    m = pool.getcl().append(b"z")
    with pytest.raises(NoBufs, match="the stream buffer has 599 bytes, and its limit is 100") as caught:
        buffer.append(m)
    assert (caught.value.limit, caught.value.used, len(m), len(buffer), buffer.full) == (100, 599, 1, 599, True)
    buffer.append(pool.getcl())
    buffer.drop(500)
    buffer.append(m)
    assert len(buffer) == 100
    buffer.clear()


def test_marks_may_lie_below_the_limit_only(pool: Pool) -> None:
    buffer = StreamBuffer(1000, 500, 100)
    assert (buffer.limit, buffer.hiwat, buffer.lowat) == (1000, 500, 100)
    with pytest.raises(Inval, match="hiwat 1001"):
        StreamBuffer(1000, 1001)
    with pytest.raises(Inval):
        StreamBuffer(0)


def test_nothing_is_not_a_separator(pool: Pool) -> None:
    buffer = fed(pool, b"abc")
    with pytest.raises(Inval, match="at least one byte"):
        buffer.take_until(b"")
    with pytest.raises(TypeError):
        buffer.take_until("c")
    buffer.clear()


def test_any_bytes_like_object_is_a_separator(pool: Pool) -> None:
    buffer = fed(pool, b"abcd")
    assert all_of(buffer.take_until(bytearray(b"b"))) == b"ab"
    assert all_of(buffer.take_until(memoryview(b"d"))) == b"cd"


def test_without_an_mbuf_to_cut_with_a_line_waits(small: Callable[..., Pool]) -> None:
    pool = small()
    buffer = fed(pool, b"x" * 300 + b"\n" + b"y" * 300)
    others = []
    with suppress(NoBufs):
        while True:
            others.append(pool.get())
    with pytest.raises(NoBufs):
        buffer.take_until(b"\n")
    assert (buffer.find(b"\n"), len(buffer)) == (300, 601)
    buffer.drop(301)
    assert all_of(buffer.take(300)) == b"y" * 300
    pool.free_bulk(others)


def test_an_mbuf_that_was_freed_inside_the_buffer_is_not_searched(pool: Pool) -> None:
    buffer = fed(pool, b"x" * 600, b"y" * 600)
    first = buffer.first
    assert first is not None
    assert buffer.find(b"z") == -1
    first.next.free()
    # The buffer ends before it.
    buffer.append(pool.wrap(b"z"))
    assert (bytes(buffer), buffer.find(b"yz"), buffer.find(b"xz")) == (b"x" * 600 + b"z", -1, 599)
    buffer.clear()


BUILDERS: list[Callable[[Pool, bytes], Mbuf]] = [
    lambda pool, data: pool.wrap(data),
    lambda pool, data: pool.getcl().append(data),
    lambda pool, data: pool.getjcl(size=16384, flags=0).append(data),
    lambda pool, data: pool.frombytes(data),
]
STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 3), st.text("ab\r\n", max_size=700).map(str.encode)),
    st.tuples(st.sampled_from(["take", "drop", "peek"]), st.integers(0, 900)),
    st.tuples(st.sampled_from(["find", "take_until"]), st.sampled_from([b"\r\n", b"\n", b"ab\r\n", b"bb"])),
    st.tuples(st.just("clear")),
)


@given(st.lists(STEPS, max_size=40))
def test_any_steps_do_what_they_do_to_a_bytearray(steps: list[Any]) -> None:
    with Pool(Vm(1 << 26), worker=False) as pool:
        buffer, model = StreamBuffer(4000), bytearray()
        for verb, *args in steps:
            if verb == "append":
                try:
                    buffer.append(m := BUILDERS[args[0]](pool, args[1]))
                    model += args[1]
                except NoBufs:
                    assert len(model) + len(args[1]) > 4000
                    m.freem()
            elif verb == "take":
                n = min(args[0], len(model))
                assert all_of(buffer.take(n)) == (bytes(model[:n]) if n else None)
                del model[:n]
            elif verb == "drop":
                n = min(args[0], len(model))
                buffer.drop(n)
                del model[:n]
            elif verb == "peek":
                assert buffer.peek(args[0]) == model[: args[0]]
            elif verb == "find":
                assert buffer.find(args[0]) == model.find(args[0])
            elif verb == "take_until" and len(model) < 4000:
                at = model.find(args[0]) + len(args[0])
                at = at if at >= len(args[0]) else 0
                assert all_of(buffer.take_until(args[0])) == (bytes(model[:at]) if at else None)
                del model[:at]
            elif verb == "clear":
                buffer.clear()
                model.clear()
            assert len(buffer) == len(model) == sum(map(len, buffer))
            assert buffer.mcnt == sum(1 for _ in buffer)
        assert bytes(buffer) == model
        buffer.clear()
        assert (buffer.mbcnt, buffer.mcnt, buffer.ccnt, pool.out) == (0, 0, 0, 0)
