"""Files whose pages packets hold.

Makes chains that refer to pages of a file. No byte of the file is read.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from mbuf.const import M_NOWAIT, MBUF_PEXT_MAX_PGS, PAGE_SIZE
from mbuf.errors import Inval
from mbuf.packet.pages import file_chain
from mbuf.packet.source import check_how, until
from mbuf.vm.ints import integer

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.packet.source import Source
    from mbuf.vm.pagefile import PageFile


class File:
    """A regular file, from `pool.file`, whose pages `getm` returns as a chain.

    Close it with `close`, or use it in a `with` statement; the file stays open until the packets that hold its pages
    are freed. It must not be truncated meanwhile: reading a missing page raises `Inval`.
    """

    __slots__ = ("_file", "_source")

    def __init__(self, source: Source, file: PageFile) -> None:
        self._source = source
        self._file = file

    @property
    def size(self) -> int:
        """Bytes of the file when it was opened."""
        return self._file.size

    @property
    def users(self) -> int:
        """Mbufs that hold pages of the file; those that share the same storage count once."""
        return self._file.users

    @property
    def name(self) -> str:
        """The path, or the number of the descriptor."""
        return self._file.name

    def getm(
        self,
        off: int = 0,
        len: int | None = None,
        how: int = M_NOWAIT,
        timeout: float | None = None,
        maxseg: int = MBUF_PEXT_MAX_PGS * PAGE_SIZE,
    ) -> Mbuf:
        """Allocate a chain of unmapped pages with `len` bytes of the file from `off` on, by default all.

        Nothing is mapped, read or copied, and there is no packet header: put one in front with `head.cat(chain)`.
        Each mbuf has at most `maxseg` bytes, which is at most 20480. Raises `NoBufs` at the limit of mbufs, and
        `Inval` if the file has fewer bytes.
        """
        start = integer(off, "off")
        size = max(self._file.size - start, 0) if len is None else integer(len, "len")
        if start < 0 or size < 0 or start > self._file.size - size:
            raise Inval(f"{self.name}: {size} bytes at {off}: it has {self._file.size}")
        most, wait = integer(maxseg, "maxseg"), check_how(how)
        if not 0 < most <= MBUF_PEXT_MAX_PGS * PAGE_SIZE:
            raise Inval(f"{self.name}: maxseg {most}: give the most bytes of an mbuf, up to 20480")
        chain: Mbuf = file_chain(self._source, self._file, start, size, most, wait, until(wait, timeout))
        return chain

    def close(self) -> None:
        """Return no more pages; packets that hold pages keep them."""
        self._file.close()

    def __enter__(self) -> File:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<File {self.name!r} of {self.size} bytes, {self.users} mbufs have pages of it>"
