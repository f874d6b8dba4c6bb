# cython: boundscheck=False, wraparound=False
"""Posted receive buffers: clusters for the kernel to write messages into, and their layout.

A message is what one slot of recvmmsg receives: a datagram, or, with GRO, up to 64 KiB of datagrams of one size that
the kernel has coalesced. Each message has a row of mbufs, its pieces; the kernel fills them one after the other.
`_rooms` is how many bytes of each piece it may fill:

    datagrams of unknown size    2048   16384   16384   16384   16384
    datagrams of 1400 bytes      1400   15400   15400   15400   15400      one, then eleven in each cluster
    small clusters only          1400    1400    1400   ...                one in each cluster

1. The first piece is a small cluster, so that a single datagram takes 2 KiB. The others are large: 64 KiB then take 5
   mbufs instead of 32.
2. The size of the datagrams is known only after a receive. If two receives in a row have brought the same size, the
   port sets the layout for it (`_set_layout`): each room is the largest multiple of the size that fits into the
   cluster, so that no datagram lies in two mbufs. `Mbuf.segment` then needs one mbuf for each datagram, and copies
   nothing: the first datagram of a cluster keeps the mbuf that was posted, the others share its storage. A wrong guess
   costs a second mbuf for some datagrams.
3. With small clusters only, and one datagram in each (`_one_each`), nothing is shared, and packets can be written to.
4. Mbufs stay posted from one receive to the next. `_post` completes the first `n` messages; the list of a message
   has its first piece last, because a receive takes pieces from the front.
5. If the pool refuses large clusters, all are small from then on. If it refuses small ones, fewer messages are
   complete, down to none; a message may take over pieces that the last ones have already (`_move_piece`), so that a few
   clusters still make one message. Nothing waits, and no datagram is lost by it: it stays in the socket.
6. A posted mbuf belongs to the port alone. It is handed out when its bytes are there, or freed by `_free_posted`: when
   the port is closed, when it releases its buffers, or when the layout changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.pool.pool import Pool
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, MCLBYTES, MJUM16BYTES, MT_DATA
from mbuf.errors import NoBufs, NoMemory
from mbuf.net.udp.receivecounts import ReceiveCounts
from mbuf.net.udp.recvmmsg import RecvVector
from mbuf.packet.mbuf import Mbuf

if not cython.compiled:
    from mbuf.packet.segment import check_alive

#: The most bytes that are posted, unless one message takes more; also the longest message.
POSTED_MAX = 1 << 20
#: The most messages of one recvmmsg.
MESSAGES_MAX = 64


@cython.cclass
class PostedBuffers:
    """Room for messages of at most `size` bytes; with the names of their peers if `named`, and `Control` if `keyed`.

    At most `limit` bytes are posted, or one message. A message has a small cluster first and then large ones, or, with
    `small`, small ones alone.
    """

    __slots__ = (
        "_counts",
        "_keyed",
        "_limit",
        "_named",
        "_one_each",
        "_pool",
        "_posted",
        "_rooms",
        "_small",
        "_vector",
        "segment",
        "size",
    )

    def __init__(self, pool: Pool, size: int, named: bool, small: bool, limit: int, keyed: bool) -> None:
        if pool is None:
            raise TypeError("PostedBuffers: give a pool")
        if cython.compiled and self._pool is not None:  # type: ignore[has-type]
            # The kernel may be writing to what is posted.
            raise TypeError("PostedBuffers: this object was initialized already")
        if not 0 < size <= POSTED_MAX:
            raise IndexError(f"messages of {size} bytes: give 1 to {POSTED_MAX}")
        self._pool = pool
        self.size = size
        self._named = named
        self._keyed = keyed
        self._small = small
        self._limit = limit
        #: For each message its mbufs: the last of the list is the one that is written to first.
        self._posted: list[list[Any]] = []
        self._counts: ReceiveCounts = ReceiveCounts()
        self._set_layout(0)

    def _free_posted(self) -> None:
        spare: list[Any] = []
        for row in self._posted:
            spare += row
            row.clear()
        self._pool.free_bulk(spare)

    def _set_layout(self, segment: int) -> None:
        """Set the layout for coalesced datagrams of a size, or for an unknown size if that is 0; free what is posted.

        The first cluster is small, for a single datagram; the others are large, unless all have to be small.
        """
        self.segment = segment
        rooms: list[int] = []
        room = total = clusters = 0
        while total < self.size:
            cluster = MJUM16BYTES if rooms and not self._small else MCLBYTES
            room = (total + cluster) // segment * segment - total if segment else cluster
            if room <= 0:
                room = cluster
            rooms.append(room)
            total += room
            clusters += cluster
        # The size of datagrams that have a cluster each.
        self._one_each = segment if self._small and rooms[0] == segment else 0
        messages = min(max(self._limit // clusters, 1), MESSAGES_MAX)
        vector = RecvVector(messages, len(rooms), self._named, self._keyed)
        self._free_posted()
        self._vector = vector
        self._rooms = rooms
        self._posted = []
        for _ in range(messages):
            self._posted.append([])

    def _post(self, n: int) -> int:
        """Complete the first `n` messages with mbufs of the pool; how many are complete, at most `n`."""
        row: list[Any]
        # After a change of the layout there may be fewer messages than before.
        n = min(n, self._vector.messages)
        pieces = self._vector.pieces
        small = large = 0
        for i in range(n):
            row = self._posted[i]
            missing = pieces - len(row)
            if missing:
                small += missing if self._small else 1
                large += missing - 1
        if small == 0:
            return n
        fresh: list[Any] = self._alloc_small(small)
        if not self._small and large and not self._post_large(n, large):
            # The pool refuses large clusters: use small ones from now on.
            self._pool.free_bulk(fresh)
            self._small = True
            self._set_layout(self.segment)
            return self._post(n)
        complete = self._post_small(n, fresh)
        while complete < n and self._move_piece(complete, fresh):
            complete = self._post_small(n, fresh)
        self._pool.free_bulk(fresh)
        if complete < n:
            self._counts.shortages += 1
        return complete

    def _alloc_small(self, count: int) -> list[Any]:
        """Allocate `count` small clusters, or as many as the pool gives."""
        fresh: list[Any] = []
        try:
            fresh = self._pool.getcl_bulk(count, M_NOWAIT, MT_DATA, 0)
        except (NoBufs, NoMemory):
            try:
                while len(fresh) < count:
                    fresh.append(self._pool.getcl(M_NOWAIT, MT_DATA, 0))
            except (NoBufs, NoMemory):
                pass
        return fresh

    def _post_large(self, n: int, count: int) -> bool:
        """Complete the first `n` messages but for the first piece, with large clusters; false if refused."""
        try:
            large: list[Any] = self._pool.getjcl_bulk(count, M_NOWAIT, MT_DATA, 0, MJUM16BYTES)
        except (NoBufs, NoMemory):
            return False
        for i in range(n):
            row: list[Any] = self._posted[i]
            while len(row) < self._vector.pieces - 1:
                self._post_piece(i, row, large.pop())
        return True

    def _post_small(self, n: int, fresh: list[Any]) -> int:
        """Complete the first `n` messages with mbufs of a list; how many are complete then."""
        for i in range(n):
            row: list[Any] = self._posted[i]
            while len(row) < self._vector.pieces:
                if not fresh:
                    return i
                self._post_piece(i, row, fresh.pop())
        return n

    def _post_piece(self, i: int, row: list[Any], m: Mbuf) -> None:
        """Post an mbuf for message `i`, before the pieces that it has."""
        # A program that finds the list by gc.get_objects() may have freed it.
        check_alive(m)
        piece = self._vector.pieces - 1 - len(row)
        m.count = self._rooms[piece]
        row.append(m)
        self._vector.set_buffer(i * self._vector.pieces + piece, m)

    def _move_piece(self, i: int, fresh: list[Any]) -> bool:
        """Move an mbuf of the last message that has any, after message `i`, to a list; only if all are small."""
        if self._small:
            rows = self._posted
            for row in rows[:i:-1]:
                if row:
                    fresh.append(row.pop())
                    return True
        return False
