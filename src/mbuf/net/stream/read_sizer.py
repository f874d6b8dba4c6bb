"""The mbufs that a read of a stream socket fills, and how many bytes it asks for.

A read asks for one of five sizes (`READ_SIZES`). If it gets all bytes, the next read asks for the next size; if it gets
fewer than the size before, the next read asks for that:

    2 KiB  <->  16 KiB  <->  64 KiB  <->  256 KiB  <->  1 MiB

So a connection with little traffic uses small mbufs, and one with much traffic needs few system calls. `alloc` gets
clusters of 16 KiB as long as more than 2 KiB are missing, then a cluster of 2 KiB, or an mbuf without a cluster for up
to 224 bytes. If the pool refuses a large cluster, it isn't asked for another one in this call, because each refusal
counts as a failure of the zone; it gets small clusters then, and at the end fewer bytes than asked for.

After the read, `shrink_to_fit` makes a chain of the bytes that were read, here 17000 of 65536:

    alloc              [    0 of 16384] -> [    0 of 16384] -> [0 of 16384] -> [0 of 16384]
    readv(2)           [16384 of 16384] -> [  616 of 16384] -> [0 of 16384] -> [0 of 16384]
    shrink_to_fit      [16384 of 16384] -> [  616 of  2048]

The empty mbufs are freed. If the last mbuf has so few bytes that a smaller one can hold them, they are copied into a
smaller one, at most 2048 bytes: otherwise 616 bytes would keep 16 KiB as long as a program uses them.

The mbufs are allocated with M_NOWAIT. Sockets aren't known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.vm.page import Memory
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, MCLBYTES, MJUM16BYTES, MLEN, MT_DATA
from mbuf.errors import NoBufs, NoMemory
from mbuf.packet.chain import Chain
from mbuf.packet.mbuf import Mbuf
from mbuf.pool.pool import Pool
from mbuf.vm.page import view_of

if not cython.compiled:
    from mbuf.packet.chain import cut, free_chain, link, link_last
    from mbuf.packet.mbuf import use_whole_storage
    from mbuf.packet.segment import capacity, check_alive, space
    from mbuf.vm.commit import run_releases

#: The bytes that a read asks for, from the smallest size to the largest.
READ_SIZES = (MCLBYTES, MJUM16BYTES, 4 * MJUM16BYTES, 16 * MJUM16BYTES, 64 * MJUM16BYTES)


@cython.cclass
class ReadSizer:
    """Gives the mbufs for each read of one connection, and adapts `size` to what the reads get."""

    __slots__ = ("_index", "_pool", "size")

    def __init__(self, pool: Pool) -> None:
        if pool is None:
            raise TypeError("ReadSizer: give a pool, not None")
        self._pool: Any = pool
        self._index = 0
        #: The number of bytes that the next read should ask for.
        self.size: int = READ_SIZES[0]

    def alloc(self, size: int) -> Mbuf:
        """Return a chain of empty mbufs for `size` bytes, or for fewer if the pool refuses; it belongs to the caller.

        The last mbuf may have more room than is asked for. Raises `NoBufs` or `NoMemory` if there is no mbuf at all.
        """
        if self._pool is None:
            raise TypeError("alloc: this ReadSizer isn't initialized: call super().__init__() in a subclass")
        first: Any = cython.cast(Chain, None)
        last: Any = first
        left = size
        large = True
        while left > 0 or first is None:
            m = self._alloc_large() if large and left > MCLBYTES else None
            if m is None:
                large = False
                try:
                    m = self._alloc_small(left)
                except (NoBufs, NoMemory):
                    if first is None:
                        raise
                    break
            first = link_last(first, last, m)
            last = m
            left -= capacity(m)
        chain: Mbuf = cython.cast(Mbuf, first)
        return chain

    def _alloc_large(self) -> Mbuf | None:
        """Return an mbuf with a cluster of 16 KiB, or None."""
        try:
            m: Mbuf = self._pool.getjcl(M_NOWAIT, MT_DATA, 0, MJUM16BYTES)
        except (NoBufs, NoMemory):
            return None
        return m

    def _alloc_small(self, size: int) -> Mbuf:
        """Return an mbuf for `size` bytes, or for 2048 if that is less."""
        if size > MLEN:
            m = cython.cast(Mbuf, self._pool.getcl(M_NOWAIT, MT_DATA, 0))
        else:
            m = cython.cast(Mbuf, self._pool.get(M_NOWAIT))
        found: Mbuf = m
        return found

    def shrink_to_fit(self, m: Mbuf, nbytes: int, asked: int) -> Mbuf:
        """Return a chain of the `nbytes` bytes that a read of `asked` bytes has put into the chain `m`.

        `m` is from `alloc`, and belongs to this function: its empty mbufs are freed. At most 2048 bytes are copied.
        """
        if m is None:
            raise TypeError("shrink_to_fit: give the chain that was read into")
        self.adapt(nbytes, asked)
        previous: Any = None
        last: Any = m
        left = nbytes
        while left > capacity(last) and last._next is not None:
            left -= capacity(last)
            use_whole_storage(last)
            previous = last
            last = last._next
        last.grow(left)
        empty = cut(last)
        if empty is not None:
            free_chain(empty)
            run_releases()
        if previous is None:
            return self._fit(last)
        cut(previous)
        link(previous, self._fit(last))
        return m

    def adapt(self, nbytes: int, asked: int) -> None:
        """Adapt `size` to a read that asked for `asked` bytes and got `nbytes`."""
        if nbytes >= asked:
            self._index = min(self._index + 1, len(READ_SIZES) - 1)
        elif self._index and nbytes < READ_SIZES[self._index - 1]:
            self._index -= 1
        self.size = READ_SIZES[self._index]

    def _fit(self, m: Mbuf) -> Mbuf:
        """Copy the bytes into a smaller mbuf, free `m`, and return the small one; or `m` if that isn't possible."""
        fit = MLEN if m.count <= MLEN else MCLBYTES
        if m.count > fit or capacity(m) <= fit:
            return m
        try:
            small: Mbuf = self._alloc_small(m.count)
        except (NoBufs, NoMemory):
            return m
        target: Memory = small.buf
        target.copy(small.off, m.buf, m.off, m.count)
        small.count = m.count
        free_chain(m)
        run_releases()
        return small


def room_views(m: Mbuf | None, size: int) -> list[memoryview]:
    """Return writable views of the room in the mbufs of a chain, of `size` bytes together at most, for readv(2).

    A view keeps the memory in use: clear the list after the read, or a traceback may hold it.
    """
    views: list[memoryview] = []
    while m is not None and size > 0:
        check_alive(m)
        count = min(space(m), size)
        views.append(view_of(m.buf, m.off + m.count, count, False))
        size -= count
        m = cython.cast(Mbuf, m._next)
    return views
