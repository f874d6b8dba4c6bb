# cython: boundscheck=False, wraparound=False
"""UDP's receive side: messages that the kernel has written, made packets.

What came joined (GRO) is cut into packets by reference. What the pool refuses the mbufs for is counted, and nothing
else is lost.
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

from mbuf.const import M_TSTMP, M_VLANTAG
from mbuf.errors import Busy, Inval, MbufError
from mbuf.net.linux import LONGEST
from mbuf.net.udp.peer import Peer
from mbuf.net.udp.posted import ARMED, PostedBuffers
from mbuf.packet.build import from_rx, from_rx_each
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.pkthdr import PktHdr
from mbuf.vm.ints import clip

#: How often a receive is repeated: for errors that the peer or the network has sent, each told once, and after
#: messages that were too long.
REPEATS = 16
#: Errors of the program, not of the network.
HARD = frozenset({errno.EBADF, errno.ENOTSOCK, errno.EFAULT, errno.EINVAL, errno.ENOTCONN, errno.EOPNOTSUPP})

if not cython.compiled:
    from mbuf.packet.pkthdr import reset_header


@cython.cclass
class UdpReceiver(PostedBuffers):
    """Packets from a UDP socket: datagrams of at most `size` bytes, or, with `gro`, what comes joined.

    Or frames from a packet socket, all of which have `interface` as their rcvif.
    """

    __slots__ = (
        "_bytes",
        "_calls",
        "_denied",
        "_drops",
        "_dropped",
        "_expect",
        "_faults",
        "_like",
        "_packets",
        "_peer",
        "_interface",
        "_ready",
        "_rumour",
        "_sock",
        "_truncated",
        "busy",
        "closed",
        "gro",
    )

    def __cinit__(self) -> None:
        # Compiled, one that was never made is as good as closed.
        self.closed = True

    def __init__(
        self,
        pool: Pool,
        sock: Any,
        size: int,
        gro: bool,
        named: bool,
        interface: Any = None,
        writable: bool = False,
        armed: int = ARMED,
    ) -> None:
        PostedBuffers.__init__(self, pool, LONGEST if gro else size, named, writable, armed)
        self._sock = sock
        self.gro = gro
        self._interface = interface
        self._peer: Peer | None = None
        self._ready: list[Any] = []
        #: Datagrams that a message is expected to bring, and what size the last that surprised had.
        self._expect = 1
        self._rumour = 0
        self._drops = 0
        #: What the headers of the packets of a message are like.
        self._like: PktHdr = PktHdr.__new__(PktHdr)
        reset_header(self._like)
        self._like.rcvif_or_tag = interface
        self.busy = False
        self._packets = self._bytes = self._calls = 0
        self._denied = self._dropped = self._truncated = self._faults = 0
        self.closed = False

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
        if self.closed:
            raise Inval("pull: this port is closed")
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

    def ready(self) -> int:
        """Packets that came and weren't pulled."""
        return len(self._ready)

    def close(self) -> None:
        """Free all that is armed, and all that came and wasn't pulled."""
        if self.busy:
            raise Busy("close: another thread is pulling from this port at this moment")
        if self.closed:
            return
        # First of all: from here on nobody arms anything, in no thread and no listener of what is freed.
        self.closed = True
        self._empty()
        packets = self._ready
        self._ready = []
        self._pool.free_bulk(packets)

    def rest(self) -> None:
        """Free what is armed, until the next pull."""
        if self.busy:
            raise Busy("rest: another thread is pulling from this port at this moment")
        if not self.closed:
            self._empty()

    # Receiving.

    def _receive(self, n: int) -> None:
        want = min(self._inbox.messages, -(-n // self._expect))
        for _ in range(REPEATS):
            whole = self._arm(want)
            if whole == 0:
                return
            inbox = self._inbox
            self._calls += 1
            got = inbox.receive(self._sock, whole)
            if got >= 0:
                self._take_all(got)
                # Where all were too long, others may wait behind them.
                if self._ready or got < whole:
                    return
            elif not self._fault(-got):
                return

    def _take_all(self, got: int) -> None:
        """Make packets of so many messages."""
        joined = 0
        for i in range(got):
            joined = self._take(i) or joined
        if joined and joined == self._rumour != self.segment:
            # Twice the same: it is worth while to lay out anew.
            self._lay(joined)
        self._rumour = joined or self._rumour

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
            like.set_rcvif_or_tag(self._whom(inbox.name(i)), 0)
        like.PH_per = inbox.tag(i)
        bits = (M_TSTMP if like.rcv_tstmp else 0) | (M_VLANTAG if like.PH_per else 0)
        self._bytes += size
        armed: list[Any] = self._armed[i]
        if not 0 < segment < size:
            segment = 0
            self._ready.append(from_rx(armed, size, like, bits))
            self._count(1)
        elif segment == self._alone:
            packets = from_rx_each(armed, size, segment, like, bits)
            self._count(len(packets))
            ready = self._ready
            self._ready = ready + packets if ready else packets
        else:
            self._cut(from_rx(armed, size, like, bits), segment)
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
        """Cut what came joined; without the mbufs for that, as far as it can be.

        They may also be refused because the pool is closed, or in the middle of something (a finalizer pulls).
        """
        try:
            packets = m.segment(segment)
        except MbufError:
            packets = self._cut_some(m, segment)
        self._count(len(packets))
        ready = self._ready
        ready.extend(packets)

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
        except MbufError:
            lost = len(m) - segment
            self._denied += -(-lost // segment)
            self._bytes -= lost
            m.adj(-lost)
        packets.append(m)
        return packets
