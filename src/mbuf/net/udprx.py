# cython: boundscheck=False, wraparound=False
"""UDP's receive side: clusters armed for the kernel to write into, and cut into packets where datagrams end.

What comes joined (GRO) is laid out so that datagrams end where mbufs do, once their size is known: then cutting is
counting. An armed cluster is nobody's but this port's. When the pool refuses, fewer are armed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.pool.pool import Pool
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, M_TSTMP, MCLBYTES, MJUM16BYTES, MT_DATA
from mbuf.errors import Busy, Inval, NoBufs, NoMemory
from mbuf.net.linux import LONGEST
from mbuf.net.peer import Peer
from mbuf.net.recvmmsg import Inbox
from mbuf.packet.build import land, land_each
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.pkthdr import PktHdr
from mbuf.vm.number import clip

#: Bytes armed at most, unless one message takes more; and messages.
ARMED = 1 << 20
MESSAGES = 64
#: What a receive is repeated for: errors that the peer or the network has sent, each told once.
REPEATS = 16
#: Errors of the program, not of the network.
HARD = frozenset({errno.EBADF, errno.ENOTSOCK, errno.EFAULT, errno.EINVAL, errno.ENOTCONN, errno.EOPNOTSUPP})


@cython.cclass
class Receiver:
    """Packets from a UDP socket: datagrams of at most `size` bytes, or, with `gro`, what comes joined."""

    __slots__ = (
        "_alone",
        "_armed",
        "_bytes",
        "_calls",
        "_denied",
        "_drops",
        "_dropped",
        "_expect",
        "_faults",
        "_inbox",
        "_like",
        "_named",
        "_rooms",
        "_small",
        "_packets",
        "_peer",
        "_pool",
        "_ready",
        "_rumour",
        "_short",
        "_sock",
        "_truncated",
        "busy",
        "gro",
        "segment",
        "size",
    )

    def __init__(self, pool: Pool, sock: Any, size: int, gro: bool, named: bool, writable: bool) -> None:
        self._pool = pool
        self._sock = sock
        self.size = LONGEST if gro else size
        self.gro = gro
        self._named = named
        self._small = writable
        self._peer: Peer | None = None
        self._ready: list[Any] = []
        #: For each message its mbufs: the last of the list is the one that is written to first.
        self._armed: list[list[Any]] = []
        #: Datagrams that a message is expected to bring, and what size the last that surprised had.
        self._expect = 1
        self._rumour = 0
        self._drops = 0
        #: What the headers of the packets of a message are like.
        self._like: PktHdr = PktHdr.__new__(PktHdr)
        self._like.place = self._like.tags = None
        self._like.reset()
        self.busy = False
        self._packets = self._bytes = self._calls = 0
        self._denied = self._short = self._dropped = self._truncated = self._faults = 0
        self._lay(0)

    def counts(self) -> tuple[int, ...]:
        """Packets, bytes, calls; denied, short, dropped, truncated, faults."""
        return (
            *(self._packets, self._bytes, self._calls),
            *(self._denied, self._short, self._dropped, self._truncated, self._faults),
        )

    def pull(self, n: int) -> list[Mbuf]:
        """At most `n` packets."""
        most = clip(n)
        if most < 0:
            raise Inval(f"pull: {n} packets: give 0 or more")
        if self.busy:
            raise Busy("pull: another thread is pulling from this port at this moment")
        if not self._ready and most:
            self.busy = True
            try:
                self._receive(most)
            finally:
                self.busy = False
        packets = self._ready
        if len(packets) <= most:
            self._ready = []
            return packets
        taken = packets[:most]
        del packets[:most]
        return taken

    def close(self) -> None:
        """Free all that is armed, and all that came and wasn't pulled."""
        if self.busy:
            raise Busy("close: another thread is pulling from this port at this moment")
        packets = self._ready
        for armed in self._armed:
            packets += armed
        self._ready = []
        self._armed = []
        self._pool.free_bulk(packets)

    # Arming.

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
        messages = min(max(ARMED // clusters, 1), MESSAGES)
        inbox = Inbox(messages, len(rooms), self._named)
        spare: list[Any] = []
        for armed in self._armed:
            spare += armed
        self._inbox = inbox
        self._rooms = rooms
        self._armed = [[] for _ in range(messages)]
        self._pool.free_bulk(spare)

    def _arm(self, want: int) -> int:
        """Arm `want` messages; how many could be."""
        armed: list[Any]
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
            return self._arm(min(want, self._inbox.messages))
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
        piece = self._inbox.pieces - 1 - len(armed)
        m.count = self._rooms[piece]
        armed.append(m)
        self._inbox.put(i * self._inbox.pieces + piece, m)

    def _borrow(self, i: int, fresh: list[Any]) -> bool:
        """Take an mbuf from the last message after number `i` that has any, of those that are all alike."""
        if self._small:
            for armed in self._armed[:i:-1]:
                if armed:
                    fresh.append(armed.pop())
                    return True
        return False

    # Receiving.

    def _receive(self, n: int) -> None:
        want = min(self._inbox.messages, -(-n // self._expect))
        got = 0
        for _ in range(REPEATS):
            whole = self._arm(want)
            if whole == 0:
                return
            self._calls += 1
            got = self._inbox.receive(self._sock, whole)
            if got >= 0 or not self._fault(-got):
                break
        surprise = 0
        for i in range(got):
            segment = self._take(i)
            if segment and segment != self.segment:
                surprise = segment
        if surprise and surprise == self._rumour:
            # Twice the same: it is worth while to lay out anew.
            self._lay(surprise)
        self._rumour = surprise

    def _fault(self, error: int) -> bool:
        """Whether to try again after an error."""
        if error == errno.EAGAIN or error == errno.EINTR:
            return False
        if error in HARD:
            raise OSError(error, os.strerror(error))
        self._faults += 1
        return True

    def _take(self, i: int) -> int:
        """Make packets of a message; the size of those it was made of, if it was more than one."""
        inbox = self._inbox
        size = inbox.length(i)
        segment: int = inbox.segment(i)
        drops = inbox.drops(i)
        if drops:
            self._dropped += (drops - self._drops) & 0xFFFFFFFF
            self._drops = drops
        if inbox.cut(i):
            self._truncated += 1
            return 0
        like = self._like
        like.rcv_tstmp = inbox.stamp(i)
        like.PH_loc = self._dropped
        if self._named:
            like.hold(self._whom(inbox.name(i)), 0)
        bits = M_TSTMP if like.rcv_tstmp else 0
        self._bytes += size
        armed: list[Any] = self._armed[i]
        if not 0 < segment < size:
            segment = 0
            self._ready.append(land(armed, size, like, bits))
            self._count(1)
        elif segment == self._alone:
            packets = land_each(armed, size, segment, like, bits)
            self._count(len(packets))
            self._ready = self._ready + packets if self._ready else packets
        else:
            self._cut(land(armed, size, like, bits), segment)
        return segment

    def _count(self, packets: int) -> None:
        """Count packets, and expect as many of the next message."""
        self._packets += packets
        self._expect = packets

    def _whom(self, name: bytes) -> Peer:
        """The peer of a name; the same object for as long as it is the same."""
        if self._peer is None or self._peer.name != name:
            self._peer = Peer(name)
        return self._peer

    def _cut(self, m: Mbuf, segment: int) -> None:
        """Cut what came joined; without the mbufs for that, as far as it can be."""
        try:
            packets = m.segment(segment)
        except (NoBufs, NoMemory):
            packets = self._cut_some(m, segment)
        self._count(len(packets))
        self._ready += packets

    def _cut_some(self, m: Mbuf, segment: int) -> list[Any]:
        """Cut off as many datagrams as there are mbufs for; one more is what is left of the first then."""
        packets: list[Any] = []
        try:
            while len(m) > segment:
                rest = cython.cast(Mbuf, m.split(segment))
                rest.bits |= m.bits & M_TSTMP
                rest.hdr.rcv_tstmp = m.hdr.rcv_tstmp
                rest.hdr.PH_loc = m.hdr.PH_loc
                packets.append(m)
                m = rest
        except (NoBufs, NoMemory):
            lost = len(m) - segment
            self._denied += -(-lost // segment)
            self._bytes -= lost
            m.adj(-lost)
        packets.append(m)
        return packets
