import asyncio

import pytest

from mbuf import Inval, Pool
from mbuf.net.aio.inbox import Inbox
from mbuf.packet.streambuf import StreamBuffer


def test_an_inbox_has_a_buffer() -> None:
    with pytest.raises(Inval, match="give the buffer"):
        Inbox(None)  # type: ignore[arg-type]


def test_a_line_is_taken_if_it_is_complete_and_not_too_long(pool: Pool) -> None:
    async def main() -> None:
        inbox = Inbox(StreamBuffer())
        assert inbox._must_wait()
        inbox.feed(pool.frombytes(b"one\ntw"))
        assert not inbox._must_wait()
        assert [inbox._line(3), inbox._line(4), inbox._line(4)] == [None, b"one\n", None]
        inbox.feed_eof()
        inbox.set_exception(OSError("lost"))
        inbox.feed(pool.frombytes(b"o\n"))
        assert inbox._line(4) is None
        inbox._buffer.clear()

    asyncio.run(main())


def test_one_task_waits_at_a_time(pool: Pool) -> None:
    async def main() -> None:
        inbox = Inbox(StreamBuffer())
        waited: list[str] = []
        inbox.connect(lambda: None, lambda: None, lambda: waited.append("before"), lambda: 1 << 20)
        first = inbox._more("read")
        assert waited == ["before"]
        with pytest.raises(RuntimeError, match="already waiting"):
            inbox._more("read")
        inbox.feed(pool.frombytes(b"x"))
        assert first.done()
        inbox.disconnect()
        inbox._more("read")
        assert waited == ["before"]
        inbox._buffer.clear()

    asyncio.run(main())
