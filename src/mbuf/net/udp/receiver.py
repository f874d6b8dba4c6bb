# cython: boundscheck=False, wraparound=False
"""The receive side of a port that uses recvmmsg(2): makes packets of the messages that the kernel has written.

A message that GRO has coalesced is segmented into its datagrams, which share its clusters. Datagrams for which the
pool refuses mbufs are counted as denied; no others are lost.
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

from mbuf.const import M_TSTMP, M_VLANTAG, MHLEN, MLEN
from mbuf.errors import MbufError
from mbuf.net.linux import DATAGRAM_MAX, FATAL_RECEIVE
from mbuf.net.port.rules import CallLock, check_count, check_usable, close_calls
from mbuf.net.udp.posted import POSTED_MAX, PostedBuffers
from mbuf.packet.build import from_rx, from_rx_each
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.peer import Peer, peer_of
from mbuf.packet.pkthdr import PktHdr
from mbuf.pool.shortage import is_half_held

if not cython.compiled:
    from mbuf.packet.pkthdr import reset_header

#: How often one pull calls recvmmsg at most: again after an error of the peer or the network, which the kernel returns
#: once, and after messages that were all too long.
CALLS_MAX = 16


#: Most bytes of a datagram that two mbufs hold: if memory is short, it gets out of its cluster.
SMALL = MHLEN + MLEN


@cython.cclass
class UdpReceiver(PostedBuffers):
    """Receives datagrams of at most `size` bytes from a UDP socket; with `gro`, any that the kernel has coalesced.

    Or receives frames from a packet socket, which all get `interface` as their rcvif. All packets come from `peer`, or
    if that is None, `named` gives each its own. `writable` gives each packet a cluster of its own; at most `posted`
    bytes are posted. Close it with `close`.
    """

    __slots__ = (
        "_bytes",
        "_calls",
        "_denied",
        "_drops",
        "_dropped",
        "_expected",
        "_faults",
        "_header",
        "_lock",
        "_map",
        "_packets",
        "_peer",
        "_ready",
        "_seen_segment",
        "_sock",
        "_truncated",
        "gro",
    )

    def __cinit__(self) -> None:
        # Compiled, an object that was never initialized counts as closed.
        self._lock: CallLock = CallLock("pull")
        self._lock.closed = True

    def __init__(
        self,
        pool: Pool,
        sock: Any,
        size: int,
        gro: bool,
        named: bool,
        interface: Any = None,
        writable: bool = False,
        posted: int = POSTED_MAX,
        peer: Peer | None = None,
    ) -> None:
        PostedBuffers.__init__(self, pool, DATAGRAM_MAX if gro else size, named, writable, posted)
        self._sock = sock
        self._map = pool.vm.map
        self.gro = gro
        self._peer: Peer | None = None
        #: Packets that have been received and not been pulled.
        self._ready: list[Any] = []
        #: How many datagrams the next message probably brings, and the segment size of the last coalesced message.
        self._expected = 1
        self._seen_segment = 0
        #: How many drops of the socket the last message reported.
        self._drops = 0
        #: The header that the packets of a message get a copy of.
        self._header: PktHdr = PktHdr.__new__(PktHdr)
        reset_header(self._header)
        self._header.set_rcvif_or_tag(interface, 0)
        self._header.set_peer(peer)
        self._packets = self._bytes = self._calls = 0
        self._denied = self._dropped = self._truncated = self._faults = 0
        self._lock = CallLock("pull")

    def counts(self) -> dict[str, int]:
        """The counters of a `PortStat` that this side counts."""
        return {
            "packets_in": self._packets,
            "bytes_in": self._bytes,
            "calls_in": self._calls,
            "denied": self._denied,
            "short": self._short,
            "dropped": self._dropped,
            "truncated": self._truncated,
            "faults": self._faults,
        }

    def pull(self, n: int) -> list[Mbuf]:
        """At most `n` packets. See `Port.pull`."""
        count = check_count(n)
        self._lock.acquire()
        try:
            if not self._ready and count:
                self._receive(count)
                if 2 * self._map.used > self._map.pages:
                    self._compact()
            packets = self._ready
            if len(packets) <= count:
                self._ready = []
                return packets
            pulled = packets[:count]
            del packets[:count]
            return pulled
        finally:
            self._lock.release()

    def _compact(self) -> None:
        """Copy small datagrams out of large clusters, if more than half of the pool's memory is held."""
        if not is_half_held(self._pool):
            return
        packets = self._ready
        try:
            for n in range(len(packets)):
                m = cython.cast(Mbuf, packets[n])
                if m.hdr.len <= SMALL:
                    m.compact()
        except (MbufError, IndexError):
            # There is no mbuf, or a free routine has closed the port.
            return

    def ready(self) -> int:
        """How many packets have been received and not been pulled."""
        return len(self._ready)

    def close(self, push: CallLock | None = None) -> None:
        """Free all that is posted, and the packets that were not pulled; close also `push`, the lock of a sender."""
        # First: no other thread, and no listener of what is freed here, may post anything from now on.
        if not close_calls(self._lock, self._lock if push is None else push):
            return
        self._free_posted()
        packets = self._ready
        self._ready = []
        self._pool.free_bulk(packets)

    def release_buffers(self) -> None:
        """Free all that is posted, until the next pull."""
        check_usable("release_buffers", False, self._lock.held())
        if not self._lock.closed:
            self._free_posted()

    # Receiving.

    def _receive(self, n: int) -> None:
        """Receive as many messages as probably bring `n` packets."""
        messages = min(self._vector.messages, -(-n // self._expected))
        for _ in range(CALLS_MAX):
            complete = self._post(messages)
            if complete == 0:
                return
            vector = self._vector
            self._calls += 1
            got = vector.receive(self._sock, complete)
            if got >= 0:
                self._take_messages(got)
                # If all of them were too long, others may wait behind them.
                if self._ready or got < complete:
                    return
            elif not self._retry(-got):
                return

    def _take_messages(self, got: int) -> None:
        """Make packets of `got` messages."""
        coalesced = 0
        for i in range(got):
            coalesced = self._take_message(i) or coalesced
        if coalesced and coalesced == self._seen_segment != self.segment:
            # The second receive in a row with this size: a layout for it is worth its cost.
            self._set_layout(coalesced)
        self._seen_segment = coalesced or self._seen_segment

    def _retry(self, error: int) -> bool:
        """Whether to receive again after an error."""
        if error == errno.EAGAIN or error == errno.EINTR:
            return False
        if error in FATAL_RECEIVE:
            raise OSError(error, os.strerror(error))
        self._faults += 1
        return True

    def _take_message(self, i: int) -> int:
        """Make packets of message `i`; the size of its datagrams if it was coalesced, else 0."""
        vector = self._vector
        size = vector.length(i)
        segment: int = vector.gro_size(i)
        drops = vector.drops(i)
        if drops:
            self._dropped += (drops - self._drops) & 0xFFFFFFFF
            self._drops = drops
        if vector.truncated(i):
            self._truncated += 1
            return 0
        header = self._header
        header.rcv_tstmp = vector.timestamp(i)
        header.PH_loc = self._dropped
        if self._named:
            header.set_peer(self._peer_of(vector.name(i)))
        header.PH_per = vector.vlan_tag(i)
        bits = (M_TSTMP if header.rcv_tstmp else 0) | (M_VLANTAG if header.PH_per else 0)
        self._bytes += size
        row: list[Any] = self._posted[i]
        if not 0 < segment < size:
            segment = 0
            self._ready.append(from_rx(row, size, header, bits))
            self._count(1)
        elif segment == self._one_each:
            packets = from_rx_each(row, size, segment, header, bits)
            self._count(len(packets))
            ready = self._ready
            self._ready = ready + packets if ready else packets
        else:
            self._segment(from_rx(row, size, header, bits), segment)
        return segment

    def _count(self, packets: int) -> None:
        """Count the packets of a message, and expect as many of the next one."""
        self._packets += packets
        self._expected = packets

    def _peer_of(self, name: bytes) -> Peer:
        """The peer of a name: the same object as long as the name stays the same."""
        if self._peer is None or self._peer.name != name:
            self._peer = peer_of(name)
        return self._peer

    def _segment(self, m: Mbuf, size: int) -> None:
        """Segment a coalesced message into datagrams of `size` bytes, or a part of it if mbufs are refused.

        They may also be refused because the pool is closed, or because a commit is under way (a finalizer pulls).
        """
        try:
            packets = m.segment(size)
        except MbufError:
            packets = self._segment_part(m, size)
        self._count(len(packets))
        ready = self._ready
        ready.extend(packets)

    def _segment_part(self, m: Mbuf, size: int) -> list[Any]:
        """Split off one datagram after another until an mbuf is refused; the datagrams after that one are denied."""
        packets: list[Any] = []
        try:
            while len(m) > size:
                rest = cython.cast(Mbuf, m.split(size))
                rest.bits |= m.bits & M_TSTMP
                rest.hdr.rcv_tstmp = m.hdr.rcv_tstmp
                rest.hdr.PH_loc = m.hdr.PH_loc
                packets.append(m)
                m = rest
        except MbufError:
            lost = len(m) - size
            self._denied += -(-lost // size)
            self._bytes -= lost
            m.adj(-lost)
        packets.append(m)
        return packets
