# cython: boundscheck=False, wraparound=False
"""Clusters that are posted for the kernel to write messages into, and how they are laid out.

A message is what one slot of recvmmsg receives: a datagram, or, with GRO, up to 64 KiB of datagrams of one size, which
the kernel has joined. Each message has a row of mbufs, its pieces; the kernel fills them one after the other. `_rooms`
is how many bytes of each piece it may fill:

    datagrams of unknown size    2048   16384   16384   16384   16384
    datagrams of 1400 bytes      1400   15400   15400   15400   15400      one, then eleven in each cluster
    small clusters only          1400    1400    1400   ...                one in each cluster

1. The first piece is a small cluster, so that a datagram that comes alone takes 2 KiB. The others are large: 64 KiB
   then takes 5 mbufs instead of 32.
2. The size of the datagrams is known only after a receive. If two receives in a row have brought the same size, the
   port has the rest laid out for it (`_lay`): each room is the largest multiple of the size that fits into the
   cluster, so that no datagram lies in two mbufs. `Mbuf.segment` then needs one mbuf for each datagram, and copies
   nothing: the first datagram of a cluster keeps the mbuf that was posted, the others share its storage. A wrong guess
   costs a second mbuf for some datagrams.
3. With small clusters only, and one datagram in each (`_alone`), nothing is shared, and packets can be written.
4. Mbufs stay posted from one receive to the next. `_arm` completes the first `want` messages; the list of a message
   has its first piece last, because a receive takes pieces from the front.
5. If the pool refuses large clusters, all are small from then on. If it refuses small ones, fewer messages are
   complete, down to none; a message may take over pieces that the last ones have already (`_borrow`), so that a few
   clusters still make one message. Nothing waits, and no datagram is lost by it: it stays in the socket.
6. A posted mbuf belongs to the port alone. It is handed out when its bytes are there, or freed by `_empty`: when the
   port is closed or rests, or when the layout changes.
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
from mbuf.net.udp.recvmmsg import Inbox
from mbuf.packet.mbuf import Mbuf

if not cython.compiled:
    from mbuf.packet.segment import check_alive

#: Bytes armed at most, unless one message takes more; and messages.
ARMED = 1 << 20
MESSAGES = 64


@cython.cclass
class PostedBuffers:
    """Room for messages of at most `size` bytes; `named` if the peers' names are wanted.

    At most `most` bytes are armed, or one message. A message has a small cluster first and then large ones, or, with
    `small`, small ones alone.
    """

    __slots__ = (
        "_alone",
        "_armed",
        "_inbox",
        "_most",
        "_named",
        "_pool",
        "_rooms",
        "_short",
        "_small",
        "segment",
        "size",
    )

    def __init__(self, pool: Pool, size: int, named: bool, small: bool, most: int) -> None:
        if pool is None:
            raise TypeError("Arms: give a pool")
        if cython.compiled and self._pool is not None:  # type: ignore[has-type]
            # The kernel may be writing to what is armed.
            raise TypeError("Arms: these are made already")
        if not 0 < size <= ARMED:
            raise IndexError(f"messages of {size} bytes: give 1 to {ARMED}")
        self._pool = pool
        self.size = size
        self._named = named
        self._small = small
        self._most = most
        #: For each message its mbufs: the last of the list is the one that is written to first.
        self._armed: list[list[Any]] = []
        self._short = 0
        self._lay(0)

    def _empty(self) -> None:
        spare: list[Any] = []
        for armed in self._armed:
            spare += armed
            armed.clear()
        self._pool.free_bulk(spare)

    def _lay(self, segment: int) -> None:
        """Lay clusters out for datagrams of a size that come joined, or for whatever comes if that is 0.

        A small one first, for a datagram that comes alone; then large ones, unless all have to be small.
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
        self._alone = segment if self._small and rooms[0] == segment else 0
        messages = min(max(self._most // clusters, 1), MESSAGES)
        inbox = Inbox(messages, len(rooms), self._named)
        self._empty()
        self._inbox = inbox
        self._rooms = rooms
        self._armed = []
        for _ in range(messages):
            self._armed.append([])

    def _arm(self, want: int) -> int:
        """Arm `want` messages, or as many as there are; how many could be."""
        armed: list[Any]
        # Laid out anew, there may be fewer than there were.
        want = min(want, self._inbox.messages)
        pieces = self._inbox.pieces
        small = large = 0
        for i in range(want):
            armed = self._armed[i]
            missing = pieces - len(armed)
            if missing:
                small += missing if self._small else 1
                large += missing - 1
        if small == 0:
            return want
        fresh: list[Any] = self._fetch(small)
        if not self._small and large and not self._enlarge(want, large):
            # As many small ones do as well.
            self._pool.free_bulk(fresh)
            self._small = True
            self._lay(self.segment)
            return self._arm(want)
        whole = self._place(want, fresh)
        while whole < want and self._borrow(whole, fresh):
            whole = self._place(want, fresh)
        self._pool.free_bulk(fresh)
        if whole < want:
            self._short += 1
        return whole

    def _fetch(self, count: int) -> list[Any]:
        """So many clusters, or as many as the pool gives."""
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

    def _enlarge(self, want: int, count: int) -> bool:
        """Complete the first `want` messages but for the first piece, with large clusters; false if refused."""
        try:
            large: list[Any] = self._pool.getjcl_bulk(count, M_NOWAIT, MT_DATA, 0, MJUM16BYTES)
        except (NoBufs, NoMemory):
            return False
        for i in range(want):
            armed: list[Any] = self._armed[i]
            while len(armed) < self._inbox.pieces - 1:
                self._put(i, armed, large.pop())
        return True

    def _place(self, want: int, fresh: list[Any]) -> int:
        """Complete the first `want` messages with mbufs of a list; how many are complete then."""
        for i in range(want):
            armed: list[Any] = self._armed[i]
            while len(armed) < self._inbox.pieces:
                if not fresh:
                    return i
                self._put(i, armed, fresh.pop())
        return want

    def _put(self, i: int, armed: list[Any], m: Mbuf) -> None:
        """Arm a message with an mbuf before those that it has."""
        # A program that finds the list by gc.get_objects() may have freed it.
        check_alive(m)
        piece = self._inbox.pieces - 1 - len(armed)
        m.count = self._rooms[piece]
        armed.append(m)
        self._inbox.put(i * self._inbox.pieces + piece, m)

    def _borrow(self, i: int, fresh: list[Any]) -> bool:
        """Take an mbuf from the last message after number `i` that has any, of those that are all alike."""
        if self._small:
            messages = self._armed
            for armed in messages[:i:-1]:
                if armed:
                    fresh.append(armed.pop())
                    return True
        return False
