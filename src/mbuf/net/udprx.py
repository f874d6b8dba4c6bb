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

from mbuf.const import M_NOWAIT, M_TSTMP, M_VLANTAG, MCLBYTES, MT_DATA
from mbuf.errors import Busy, Inval, NoBufs, NoMemory
from mbuf.net.linux import LONGEST
from mbuf.net.peer import Peer
from mbuf.net.recvmmsg import Inbox
from mbuf.packet.build import land
from mbuf.packet.mbuf import Mbuf
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
    """Packets from a UDP socket: datagrams of at most `size` bytes, or, with `gro`, what comes joined.

    Or frames from a packet socket, all of which have `interface` as their rcvif.
    """

    __slots__ = (
        "_armed",
        "_bytes",
        "_calls",
        "_denied",
        "_drops",
        "_dropped",
        "_expect",
        "_faults",
        "_holes",
        "_inbox",
        "_named",
        "_packets",
        "_peer",
        "_interface",
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

    def __init__(self, pool: Pool, sock: Any, size: int, gro: bool, named: bool, interface: Any = None) -> None:
        self._pool = pool
        self._sock = sock
        self.size = LONGEST if gro else size
        self.gro = gro
        self._named = named
        self._interface = interface
        self._peer: Peer | None = None
        self._ready: list[Any] = []
        self._armed: list[Any] = []
        self._holes: list[int] = []
        #: Datagrams that a message is expected to bring, and what size the last that surprised had.
        self._expect = 1
        self._rumour = 0
        self._drops = 0
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
        for m in self._armed:
            if m is not None:
                packets.append(m)
        self._ready = []
        self._armed = []
        self._holes = []
        self._pool.free_bulk(packets)

    def rest(self) -> None:
        """Free what is armed, until the next pull."""
        if self.busy:
            raise Busy("rest: another thread is pulling from this port at this moment")
        spare = [m for m in self._armed if m is not None]
        self._armed = [None] * len(self._armed)
        self._holes = [self._inbox.pieces] * len(self._holes)
        self._pool.free_bulk(spare)

    # Arming.

    def _lay(self, segment: int) -> None:
        """Lay clusters out for datagrams of a size that come joined, or for whatever comes if that is 0."""
        self.segment = segment
        pieces = 0
        room = 0
        while room < self.size:
            room += self._room(pieces)
            pieces += 1
        messages = min(max(ARMED // (pieces * MCLBYTES), 1), MESSAGES)
        inbox = Inbox(messages, pieces, self._named)
        spare = [m for m in self._armed if m is not None]
        self._inbox = inbox
        self._armed = [None] * (messages * pieces)
        self._holes = [pieces] * messages
        self._place(messages, spare)
        self._pool.free_bulk(spare)

    def _room(self, piece: int) -> int:
        """Bytes of a message that its mbuf number `piece` is to hold."""
        if self.segment == 0:
            return MCLBYTES
        if self.segment <= MCLBYTES:
            return MCLBYTES // self.segment * self.segment
        each = -(-self.segment // MCLBYTES)
        return MCLBYTES if (piece + 1) % each else self.segment - (each - 1) * MCLBYTES

    def _arm(self, want: int) -> int:
        """Arm `want` messages; how many could be."""
        missing = 0
        for i in range(want):
            missing += self._holes[i]
        if missing == 0:
            return want
        fresh: list[Any] = self._fetch(missing)
        whole = self._place(want, fresh)
        while whole < want and self._borrow(whole, fresh):
            whole = self._place(want, fresh)
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

    def _place(self, want: int, fresh: list[Any]) -> int:
        """Fill the holes of the first `want` messages; how many have none then."""
        inbox = self._inbox
        pieces = inbox.pieces
        for i in range(want):
            hole = self._holes[i]
            while hole > 0:
                if not fresh:
                    self._holes[i] = hole
                    return i
                hole -= 1
                m: Mbuf = fresh.pop()
                m.count = self._room(hole)
                self._armed[i * pieces + hole] = m
                inbox.put(i * pieces + hole, m)
            self._holes[i] = 0
        return want

    def _borrow(self, i: int, fresh: list[Any]) -> bool:
        """Take an mbuf from the last message after number `i` that has any."""
        pieces = self._inbox.pieces
        for last in range(len(self._holes) - 1, i, -1):
            hole = self._holes[last]
            if hole < pieces:
                fresh.append(self._armed[last * pieces + hole])
                self._armed[last * pieces + hole] = None
                self._holes[last] = hole + 1
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
        first = i * inbox.pieces
        m: Mbuf = land(self._armed, first, size)
        hole = 1
        while hole < inbox.pieces and self._armed[first + hole] is None:
            hole += 1
        self._holes[i] = hole
        hdr = m.hdr
        hdr.PH_loc = self._dropped
        if inbox.stamp(i):
            hdr.rcv_tstmp = inbox.stamp(i)
            m.bits |= M_TSTMP
        if self._named:
            hdr.hold(self._whom(inbox.name(i)), 0)
        elif self._interface is not None:
            hdr.hold(self._interface, 0)
        if inbox.tag(i):
            hdr.PH_per = inbox.tag(i)
            m.bits |= M_VLANTAG
        self._bytes += size
        if segment <= 0 or segment >= size:
            self._expect = 1
            self._ready.append(m)
            self._packets += 1
            return 0
        self._cut(m, segment)
        return segment

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
        self._expect = max(len(packets), 1)
        self._packets += len(packets)
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
