# cython: boundscheck=False, wraparound=False
"""The receive side of a port that uses recvmmsg(2): makes packets of the messages that the kernel has written.

A message that GRO has coalesced is segmented into its datagrams, which share its clusters. Datagrams for which the
pool refuses mbufs are counted as denied, those that are longer than the port takes as truncated, and those that were
not pulled before the port was closed as discarded; no others are lost.

Datagrams are copied where the program wants bytes, or where the pool has too little memory (`copies`).
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

from mbuf.const import M_NOWAIT, M_TSTMP, M_TSTMP_HPREC, M_VLANTAG, MT_DATA
from mbuf.errors import MbufError, NoBufs, NoMemory
from mbuf.net.linux import DATAGRAM_MAX, FATAL_RECEIVE
from mbuf.net.port.rules import CallLock, check_count, check_usable, close_calls
from mbuf.net.udp.copies import LateCopies
from mbuf.net.udp.owned import own
from mbuf.net.udp.posted import POSTED_MAX, PostedBuffers
from mbuf.net.udp.recvmmsg import RecvVector
from mbuf.net.udp.senderrors import SendErrors
from mbuf.packet.build import from_rx, from_rx_each
from mbuf.packet.control import Control, received_control
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.peer import Peer, peer_of
from mbuf.packet.pkthdr import PktHdr
from mbuf.pool.shortage import is_half_held

if not cython.compiled:
    from mbuf.net.udp.copies import compact_small, copy_datagrams
    from mbuf.packet.pkthdr import reset_header

#: How often one pull calls recvmmsg at most: again after an error of the peer or the network, which the kernel returns
#: once, and after messages that were all too long.
CALLS_MAX = 16


@cython.cclass
class UdpReceiver(PostedBuffers):
    """Receives datagrams of at most `size` bytes from a UDP socket; with `gro`, any that the kernel has coalesced.

    Or receives frames from a packet socket, which all get `interface` as their rcvif. All packets come from `peer`, or
    if that is None, `named` gives each its own. `keyed` gives each its `Control`. With `writable` each packet has
    memory of its own; at most `posted` bytes are posted. `failures` gets the errors. Close it with `close`.
    """

    __slots__ = (
        "_control",
        "_control_key",
        "_copying",
        "_failures",
        "_header",
        "_header_bits",
        "_late",
        "_lock",
        "_longest",
        "_map",
        "_peer",
        "_ready",
        "_seen_segment",
        "_sock",
        "_untaken",
        "_writable",
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
        keyed: bool = False,
        failures: SendErrors | None = None,
    ) -> None:
        PostedBuffers.__init__(self, pool, DATAGRAM_MAX if gro else size, named, writable, posted, keyed)
        self._sock = sock
        self._longest = size
        self._writable = writable
        self._failures = SendErrors(sock, "receiver") if failures is None else failures
        self._map = pool.vm.map
        self.gro = gro
        self._control: Control | None = None
        self._control_key = b""
        #: A message whose datagrams aren't all copied yet.
        self._late: LateCopies | None = None
        self._peer: Peer | None = None
        #: Packets that have been received and not been pulled.
        self._ready: list[Any] = []
        #: The segment size of the last coalesced message.
        self._seen_segment = 0
        #: The header that the packets of a message get a copy of, and their flags.
        self._header: PktHdr = PktHdr.__new__(PktHdr)
        reset_header(self._header)
        self._header.set_rcvif_or_tag(interface, 0)
        self._header.set_peer(peer, cython.cast(Control, None))
        self._header_bits = 0
        #: Whether datagrams are copied, and their mbufs stay posted; those that `pull_bytes` hasn't returned yet.
        self._copying = False
        self._untaken: list[Any] = []
        self._lock = CallLock("pull")

    def counts(self) -> dict[str, int]:
        """The counters of a `PortStat` that this side counts."""
        return self._counts.as_dict()

    def expected(self) -> int:
        """How many datagrams the last message brought."""
        return self._counts.expected

    def pull(self, n: int) -> list[Mbuf]:
        """At most `n` packets. See `Port.pull`."""
        count = check_count(n)
        self._lock.acquire()
        try:
            if not self._ready and count:
                self._fill(count)
                if 2 * self._map.used > self._map.pages and is_half_held(self._pool):
                    compact_small(self._ready)
            if not self._failures.untold:
                return self._take(count)
        finally:
            self._lock.release()
        # The program may call this port, and may raise: what was received stays for the next pull then.
        self._failures.tell()
        if self._lock.closed:
            return []
        self._lock.acquire()
        try:
            return self._take(count)
        finally:
            self._lock.release()

    def pull_bytes(self, n: int) -> list[tuple[bytes, Peer | None]]:
        """About `n` datagrams as bytes, with their peers. See `UdpPort.pull_bytes`."""
        count = check_count(n)
        self._lock.acquire()
        datagrams = self._untaken
        self._untaken = []
        if not datagrams:
            self._copying = True
            try:
                if not self._ready and count:
                    self._fill(count)
            finally:
                datagrams = self._ready
                self._ready = []
                self._copying = False
                self._lock.release()
            for i in range(len(datagrams)):
                # What `pull` has left here, or was made of copies.
                if isinstance(datagrams[i], Mbuf):
                    m: Mbuf = cython.cast(Mbuf, datagrams[i])
                    datagrams[i] = (bytes(m), m.hdr.peer)
                    m.freem()
        else:
            self._lock.release()
        if self._failures.untold:
            # The program may raise: what was received stays for the next call then.
            self._untaken = datagrams
            self._failures.tell()
            datagrams = self._untaken
            self._untaken = []
        return datagrams

    def _take(self, count: int) -> list[Mbuf]:
        """Remove at most `count` packets from those that have been received."""
        packets = self._ready
        if len(packets) <= count:
            self._ready = []
            return packets
        pulled = packets[:count]
        del packets[:count]
        return pulled

    def ready(self) -> int:
        """How many packets have been received and not been pulled; at least."""
        return len(self._ready) + len(self._untaken) + (self._late is not None)

    def close(self, push: CallLock | None = None) -> None:
        """Free all that is posted, and the packets that were not pulled; close also `push`, the lock of a sender."""
        # First: no other thread, and no listener of what is freed here, may post anything from now on.
        if not close_calls(self._lock, self._lock if push is None else push):
            return
        self._free_posted()
        packets = self._ready
        self._ready = []
        size = 0
        for i in range(len(packets)):
            if isinstance(packets[i], Mbuf):
                size += cython.cast(Mbuf, packets[i]).hdr.len
        for data, _ in self._untaken:
            size += len(data)
        late = self._late
        self._counts.discard(len(packets) + len(self._untaken), size, 0 if late is None else late.left())
        self._untaken = []
        self._late = None
        self._pool.free_bulk(packets)

    def release_buffers(self) -> None:
        """Free all that is posted, until the next pull."""
        check_usable("release_buffers", False, self._lock.held())
        if not self._lock.closed:
            # Uncompiled, another thread could pull meanwhile.
            self._lock.acquire()
            try:
                self._free_posted()
            finally:
                self._lock.release()

    # Receiving.

    def _fill(self, n: int) -> None:
        """Make about `n` packets of what has been received, or is received now."""
        if self._late is not None:
            self._copy_late(self._late)
        else:
            self._receive(n)

    def _receive(self, n: int) -> None:
        """Receive as many messages as probably bring `n` packets."""
        messages = min(self._vector.messages, -(-n // self._counts.expected))
        for _ in range(CALLS_MAX):
            complete = self._post(messages)
            if complete == 0:
                if not self._receive_late() or self._ready:
                    return
                continue
            vector = self._vector
            self._counts.calls_in += 1
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
            if self._failures.recverr:
                # Or the socket stays readable.
                self._counts.faults += self._failures.read_queue()
            return False
        if error in FATAL_RECEIVE:
            raise OSError(error, os.strerror(error))
        self._counts.faults += 1
        self._failures.add_pending(error)
        return True

    def _take_message(self, i: int) -> int:
        """Make packets of message `i`; the size of its datagrams if it was coalesced, else 0."""
        vector = self._vector
        segment = self._begin_message(vector, i)
        if segment < 0:
            return 0
        size = vector.length(i)
        header, bits = self._header, self._header_bits
        row: list[Any] = self._posted[i]
        if (segment or size) > self._longest:
            self._take_last(row, size, segment)
            return 0
        counts = self._counts
        counts.bytes_in += size
        ready = self._ready
        before = len(ready)
        if self._copying:
            copy_datagrams(ready, row, size, segment, header.peer)
        elif segment == 0:
            ready.append(from_rx(row, size, header, bits))
        elif segment == self._one_each:
            packets = from_rx_each(row, size, segment, header, bits)
            self._ready = ready + packets if before else packets
        else:
            self._segment(from_rx(row, size, header, bits), segment)
        counts.add_packets(len(self._ready) - before)
        return segment

    def _begin_message(self, vector: RecvVector, i: int) -> int:
        """Set the header for the packets of a message; the size of its datagrams, 0 if it is one, -1 if incomplete."""
        size = vector.length(i)
        segment: int = vector.gro_size(i)
        if not 0 < segment < size:
            segment = 0
        drops = vector.drops(i)
        counts = self._counts
        if drops:
            counts.add_drops(drops, -(-size // segment) if segment else 1)
        if vector.truncated(i):
            counts.truncated += 1
            return -1
        header = self._header
        if self._named:
            header.set_peer(self._peer_of(vector.name(i)), header.control)
        if self._keyed:
            header.set_peer(header.peer, self._control_of(vector.key(i)))
        header.rcv_tstmp = vector.timestamp(i)
        header.PH_loc = counts.dropped
        header.PH_per = vector.vlan_tag(i)
        bits = (M_TSTMP if header.rcv_tstmp else 0) | (M_VLANTAG if header.PH_per else 0)
        self._header_bits = bits | M_TSTMP_HPREC if vector.precise(i) else bits
        return segment

    def _take_last(self, row: list[Any], size: int, segment: int) -> None:
        """Of a message of datagrams that are too long, make a packet of the last one if that is shorter."""
        lost = (size - 1) // segment if segment else 1
        last = size - lost * segment
        if 0 < last <= self._longest:
            m: Mbuf = from_rx(row, size, self._header, self._header_bits)
            m.adj(size - last)
            self._ready.append(m)
            self._counts.bytes_in += last
            self._counts.add_packets(1)
        elif segment:
            lost += 1
        self._counts.truncated += lost

    def _peer_of(self, name: bytes) -> Peer:
        """The peer of a name: the same object as long as the name stays the same."""
        if self._peer is None or self._peer.name != name:
            self._peer = peer_of(name)
        return self._peer

    def _control_of(self, key: bytes) -> Control:
        """The control of a key: the same object as long as the key stays the same."""
        if self._control is None or self._control_key != key:
            self._control = received_control(key)
            self._control_key = key
        return self._control

    def _segment(self, m: Mbuf, size: int) -> None:
        """Segment a coalesced message into datagrams of `size` bytes, or a part of it if mbufs are refused.

        They may also be refused because the pool is closed, or because a commit is under way (a finalizer pulls).
        """
        try:
            packets = m.segment(size)
        except MbufError:
            packets = self._segment_part(m, size)
        if self._writable:
            parts = len(packets)
            packets, lost = own(packets)
            self._counts.denied += parts - len(packets)
            self._counts.bytes_in -= lost
        ready = self._ready
        ready.extend(packets)

    def _segment_part(self, m: Mbuf, size: int) -> list[Any]:
        """Split off one datagram after another until an mbuf is refused; the datagrams after that one are denied."""
        packets: list[Any] = []
        try:
            while len(m) > size:
                rest = cython.cast(Mbuf, m.split(size))
                rest.bits |= m.bits & (M_TSTMP | M_TSTMP_HPREC)
                rest.hdr.rcv_tstmp = m.hdr.rcv_tstmp
                rest.hdr.PH_loc = m.hdr.PH_loc
                packets.append(m)
                m = rest
        except MbufError:
            lost = len(m) - size
            self._counts.denied += -(-lost // size)
            self._counts.bytes_in -= lost
            m.adj(-lost)
        packets.append(m)
        return packets

    # Where the pool has too few clusters for a message.

    def _receive_late(self) -> bool:
        """Receive one message to other memory than mbufs, if the pool has any mbuf at all; false if not."""
        # What is posted isn't enough for a message, and may be all that the pool has.
        self._free_posted()
        try:
            self._pool.getcl(M_NOWAIT, MT_DATA, 0).free()
        except (NoBufs, NoMemory):
            return False
        late = LateCopies(self.size)
        vector = RecvVector(1, 1, self._named, self._keyed)
        vector.set_buffer(0, late.window)
        self._counts.calls_in += 1
        got = vector.receive(self._sock, 1)
        if got < 0:
            return self._retry(-got)
        segment = self._begin_message(vector, 0)
        if segment < 0:
            return True
        late.begin(vector.length(0), segment, self._header, self._header_bits)
        self._late = late
        self._copy_late(late)
        return self._late is None

    def _copy_late(self, late: LateCopies) -> None:
        """Make packets of a message in other memory, until the pool refuses an mbuf."""
        if late.copy(self._ready, self._pool, self._longest, self._counts):
            self._late = None
