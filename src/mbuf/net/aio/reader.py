"""What a stream connection has received, for a task that reads it: the counterpart of `asyncio.StreamReader`.

    connection --feed--> [ StreamBuffer: mbufs ] --> read, readexactly, readuntil, readline: copied into bytes
                                                 --> the same with _mbuf: taken out as a chain

The buffer is full above twice the limit, or when it holds more memory than the quota of the pool allows
(`mbuf.net.quota`). Then the connection stops reading, until it is down at the limit. A task that waits for more bytes
makes the connection read all the same: what the task waits for may be longer.

One task waits at a time, for a `Wakeup`. When bytes arrive, it continues inside of the call that adds them (`Inbox`):
the next iteration of the loop would cost as much as the line.

A `readexactly` of more than twice the limit collects the bytes outside of the pool, because its result is there
anyway. If it is cancelled, they are put back in front.
"""

from __future__ import annotations

from asyncio import IncompleteReadError, LimitOverrunError
from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.net.aio.inbox import Inbox
from mbuf.packet.streambuf import StreamBuffer

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: The default limit in bytes, that of asyncio.
LIMIT = 1 << 16

#: The largest limit of a `StreamBuffer`. It has none here: the reader pauses the connection.
_NO_LIMIT = (1 << 31) - 1


class StreamReader(Inbox):
    """Reads a stream as `asyncio.StreamReader` does, with the same results and exceptions; the bytes are in mbufs.

    `open_connection` and `start_server` make one. `limit` is the most bytes of a line, and half of the bytes that are
    buffered. The methods with `_mbuf` in their name return the bytes as a chain, which belongs to the caller, instead
    of a copy; where one line ends inside an mbuf, they need another one, and wait until the pool has it.
    """

    def __init__(self, pool: Pool, limit: int = LIMIT) -> None:
        if limit <= 0:
            raise ValueError("Limit cannot be <= 0")
        super().__init__(StreamBuffer(_NO_LIMIT, min(2 * limit + 1, _NO_LIMIT), min(limit, _NO_LIMIT // 2), _NO_LIMIT))
        self._pool = pool
        self._limit = limit

    def __del__(self) -> None:
        buffer: StreamBuffer | None = getattr(self, "_buffer", None)
        if buffer is not None:
            buffer.clear()

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._buffer.cc:
            info.append(f"{self._buffer.cc} bytes")
        if self._eof:
            info.append("eof")
        if self._limit != LIMIT:
            info.append(f"limit={self._limit}")
        if self._waiter is not None:
            info.append(f"waiter={self._waiter!r}")
        if self._exception is not None:
            info.append(f"exception={self._exception!r}")
        return f"<{' '.join(info)}>"

    # In: called by the connection, or by a test. See also `Inbox`.

    def feed_data(self, data: Any) -> None:
        """Add a copy of a bytes-like object. Raises `NoBufs` or `NoMemory` if the pool has no mbufs for it."""
        if self._eof:
            raise Inval("feed_data: the stream has ended: feed_eof was called")
        if data:
            self.feed(self._pool.frombytes(data))

    def exception(self) -> BaseException | None:
        """Return the exception of the connection, or None."""
        return self._exception

    def at_eof(self) -> bool:
        """Return True if the stream has ended and all bytes were read."""
        return self._eof and not self._buffer.cc

    def _raise_exception(self) -> None:
        if self._exception is not None:
            raise self._exception

    # Out, as bytes.

    async def read(self, n: int = -1) -> bytes:
        """Return up to `n` bytes as soon as there are some, or b"" at the end; if `n` is negative, all until the end.

        They are copied.
        """
        self._raise_exception()
        if n == 0:
            return b""
        if n < 0:
            blocks = []
            while block := await self.read(self._limit):
                blocks.append(block)
            return b"".join(blocks)
        if not self._buffer.cc and not self._eof:
            await self._more("read")
        return self._buffer.read(n)

    async def readline(self) -> bytes:
        r"""Return the next line with its "\n"; without it, or b"", if the stream ends before.

        Raises ValueError if the line is longer than the limit; it is removed then, or if it isn't complete yet, all
        that is buffered.
        """
        if self._must_wait():
            await self._more("readuntil")
        line = self._line(self._limit + 1)
        if line is not None:
            return line
        try:
            return await self.readuntil(b"\n")
        except IncompleteReadError as error:
            return error.partial
        except LimitOverrunError as error:
            self._drop_line(error)
            raise ValueError(error.args[0]) from None

    def _drop_line(self, error: LimitOverrunError) -> None:
        """Remove a line that is too long."""
        end = error.consumed + 1
        if self._buffer.find(b"\n") == error.consumed:
            self._buffer.drop(end)
        else:
            self._buffer.clear()

    async def readuntil(self, separator: Any = b"\n") -> bytes:
        """Return the bytes up to and including the separator, or of a tuple of them the one that ends first.

        They are copied. Raises ValueError for an empty separator, LimitOverrunError if the separator isn't found within
        the limit, and the bytes stay; and IncompleteReadError, with the bytes before it, if the stream ends.
        """
        return self._buffer.read(await self._find(separator))

    async def _find(self, separator: Any) -> int:
        """Wait until the buffer has the separator; return the number of bytes up to its end."""
        seps = sorted(separator, key=len) if isinstance(separator, tuple) else [separator]
        if not seps or not len(seps[0]):
            raise ValueError("Separator should be at least one-byte string")
        self._raise_exception()
        buffer = self._buffer
        offset = 0
        while True:
            found = [(at + len(sep), at) for sep in seps if (at := buffer.find(sep, min(offset, buffer.cc))) >= 0]
            if found:
                end, start = min(found)
                if start > self._limit:
                    raise LimitOverrunError("Separator is found, but chunk is longer than limit", start)
                return end
            offset = max(0, buffer.cc + 1 - len(seps[-1]))
            if offset > self._limit:
                raise LimitOverrunError("Separator is not found, and chunk exceed the limit", offset)
            if self._eof:
                raise IncompleteReadError(buffer.read(buffer.cc), None)
            await self._more("readuntil")

    async def readexactly(self, n: int) -> bytes:
        """Return exactly `n` bytes, copied. Raises IncompleteReadError if the stream ends before."""
        if n > 2 * self._limit:
            return await self._collect(n)
        await self._have(n)
        return self._buffer.read(n)

    async def _have(self, n: int) -> None:
        """Wait until the buffer has `n` bytes."""
        if n < 0:
            raise ValueError("readexactly size can not be less than zero")
        self._raise_exception()
        buffer = self._buffer
        while buffer.cc < n:
            if self._eof:
                raise IncompleteReadError(buffer.read(buffer.cc), n)
            await self._more("readexactly")

    async def _collect(self, n: int) -> bytes:
        """Return exactly `n` bytes, which may be more than the pool has."""
        self._raise_exception()
        got = bytearray()
        try:
            while len(got) < n:
                if not self._buffer.cc:
                    if self._eof:
                        partial, got = bytes(got), bytearray()
                        raise IncompleteReadError(partial, n)
                    await self._more("readexactly")
                got += self._buffer.read(n - len(got))
        except BaseException:
            self._put_back(bytes(got))
            raise
        return bytes(got)

    def _put_back(self, data: bytes) -> None:
        """Put bytes that were taken out in front again."""
        if not data:
            return
        rest = self._buffer.take(self._buffer.cc)
        try:
            self._buffer.append(self._pool.wrap(data))
        except (NoBufs, NoMemory) as error:
            # The stream has a gap.
            self.set_exception(error)
        if rest is not None:
            self._buffer.append(rest)

    def __aiter__(self) -> StreamReader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    # Out, as chains.

    async def read_mbuf(self, n: int = -1) -> Mbuf | None:
        """Return up to `n` bytes as soon as there are some, or None at the end; if `n` is negative, all that are there.

        The chain belongs to the caller. Unlike `read`, it doesn't wait for the end of the stream.
        """
        self._raise_exception()
        if n == 0:
            return None
        if not self._buffer.cc and not self._eof:
            await self._more("read_mbuf")
        have = self._buffer.cc
        return await self._take(have if n < 0 else min(n, have))

    async def readline_mbuf(self) -> Mbuf | None:
        """Return the next line with its end as a chain, which belongs to the caller; None if the stream has ended.

        Raises what `readline` raises.
        """
        try:
            return await self.readuntil_mbuf(b"\n")
        except IncompleteReadError as error:
            return self._pool.wrap(error.partial) if error.partial else None
        except LimitOverrunError as error:
            self._drop_line(error)
            raise ValueError(error.args[0]) from None

    async def readuntil_mbuf(self, separator: Any = b"\n") -> Mbuf:
        """Return the bytes up to and including the separator as a chain, which belongs to the caller.

        Raises what `readuntil` raises.
        """
        m = await self._take(await self._find(separator))
        assert m is not None
        return m

    async def readexactly_mbuf(self, n: int) -> Mbuf | None:
        """Return exactly `n` bytes as a chain, which belongs to the caller; None for 0 bytes.

        Raises IncompleteReadError if the stream ends before. All bytes are in the pool at once.
        """
        await self._have(n)
        return await self._take(n)

    async def _take(self, n: int) -> Mbuf | None:
        """Take out `n` bytes; if that needs an mbuf and the pool has none, wait for one."""
        try:
            return self._buffer.take(n)
        except (NoBufs, NoMemory):
            m = await self._pool.aget()
        # The bytes are still there: one task reads at a time.
        data = self._buffer.read(n)
        m.extadd(data).len = len(data)
        return m
