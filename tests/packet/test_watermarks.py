import asyncio

import pytest

from mbuf import M_RDONLY, MJUM16BYTES, MSIZE, Inval, Pool, SockBuf


@pytest.mark.parametrize("marks", [(0,), (-1,), (10, 10), (10, -1), (10, 5, 0), (1 << 31,)])
def test_marks_that_make_no_sense_are_refused(marks: tuple[int, ...]) -> None:
    with pytest.raises(Inval):
        SockBuf(*marks)


def test_the_marks_by_default() -> None:
    buffer = SockBuf(1000)
    assert (buffer.hiwat, buffer.lowat, buffer.mbmax, buffer.space) == (1000, 250, 8000, 1000)
    assert SockBuf().hiwat == 65536


def test_it_says_when_it_is_full_and_when_there_is_space_again(pool: Pool) -> None:
    said: list[str] = []
    buffer = SockBuf(1000, 400, pause=lambda: said.append("pause"), resume=lambda: said.append("resume"))
    buffer.append(pool.wrap(b"x" * 999))
    assert (said, buffer.full, buffer.space) == ([], False, 1)
    buffer.append(pool.wrap(b"x" * 100))
    buffer.append(pool.wrap(b"x"))
    assert (said, buffer.full, buffer.space) == (["pause"], True, 0)
    buffer.drop(699)
    assert (said, buffer.full, buffer.space) == (["pause"], True, 599)
    buffer.drop(1)
    assert (said, buffer.full) == (["pause", "resume"], False)
    buffer.append(pool.wrap(b"x" * 600))
    taken = buffer.take(600)
    assert said == ["pause", "resume"] * 2
    buffer.append(taken)
    buffer.clear()
    assert said == ["pause", "resume"] * 3


def test_memory_makes_it_full_as_well(pool: Pool) -> None:
    size = MSIZE + MJUM16BYTES
    buffer = SockBuf(1 << 20, 1 << 19, mbmax=3 * size)
    for n in range(1, 4):
        # Lies before anything that could be copied behind it.
        m = pool.getjcl(size=MJUM16BYTES, flags=0).append(b"x")
        m.flags |= M_RDONLY
        buffer.append(m)
        assert buffer.full is (n == 3)
        assert buffer.space == (3 - n) * size
    buffer.drop(1)
    assert buffer.full
    buffer.drop(1)
    assert not buffer.full
    buffer.clear()


def test_waiting_ends_when_there_is_space(pool: Pool) -> None:
    async def main() -> None:
        buffer = SockBuf(100, 10, mbmax=1 << 20)
        await buffer.drained()
        buffer.append(pool.wrap(b"x" * 100))
        waiting = [asyncio.ensure_future(buffer.drained()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        buffer.drop(80)
        await asyncio.sleep(0)
        assert [task.done() for task in waiting] == [False, True, False]
        buffer.drop(10)
        await asyncio.wait_for(asyncio.gather(waiting[0], waiting[2]), 20)
        assert waiting[1].cancelled()
        buffer.clear()

    asyncio.run(main())


def test_who_waits_goes_on_waiting_when_it_is_full_again_at_once(pool: Pool) -> None:
    async def main() -> None:
        buffer = SockBuf(100, 10, mbmax=1 << 20)
        buffer.append(pool.wrap(b"x" * 100))
        waiting = asyncio.ensure_future(buffer.drained())
        await asyncio.sleep(0)
        buffer.drop(90)
        buffer.append(pool.wrap(b"x" * 90))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting.done()
        buffer.clear()
        await asyncio.wait_for(waiting, 20)

    asyncio.run(main())
