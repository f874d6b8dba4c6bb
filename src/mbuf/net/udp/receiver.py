# cython: boundscheck=False, wraparound=False
"""The receive side of a port that uses recvmmsg(2): makes packets of the messages that the kernel has written.

A message that GRO has coalesced is segmented into its datagrams, which share its clusters. Datagrams for which the
pool refuses mbufs are counted as denied, those that are longer than the port takes as truncated; no others are lost.

If the pool has too few clusters for one message, the message is received into memory of Python's, and its datagrams are
copied from there, each when the pool has mbufs for it (`_receive_copied`).

What the socket drops since it is full is counted in messages by the system, and each may be of many datagrams. The port
takes the message that reports a drop as an example for those that were dropped before it.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.pool.pool import Pool
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, M_TSTMP, M_TSTMP_HPREC, M_VLANTAG, MHLEN, MLEN, MT_DATA
from mbuf.errors import MbufError, NoBufs, NoMemory
from mbuf.net.linux import DATAGRAM_MAX, FATAL_RECEIVE
from mbuf.net.port.rules import CallLock, check_count, check_usable, close_calls
from mbuf.net.udp.owned import own
from mbuf.net.udp.posted import POSTED_MAX, PostedBuffers
from mbuf.net.udp.recvmmsg import CONTROL_SIZE_IP, is_incomplete, parsed
from mbuf.net.udp.senderrors import SendErrors
from mbuf.packet.build import from_rx, from_rx_each
from mbuf.packet.control import Control, received_control
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.peer import Peer, packed, peer_of
from mbuf.packet.pkthdr import PktHdr
from mbuf.pool.shortage import is_half_held

if not cython.compiled:
    from mbuf.packet.pkthdr import reset_header
    from mbuf.packet.segment import check_alive
    from mbuf.vm.scan import new_bytes, set_bytes

#: How often one pull calls recvmmsg at most: again after an error of the peer or the network, which the kernel returns
#: once, and after messages that were all too long.
CALLS_MAX = 16


#: Most bytes of a datagram that two mbufs hold: if memory is short, it gets out of its cluster.
SMALL = MHLEN + MLEN


@cython.cclass
class UdpReceiver(PostedBuffers):
    """Receives datagrams of at most `size` bytes from a UDP socket; with `gro`, any that the kernel has coalesced.

    Or receives frames from a packet socket, which all get `interface` as their rcvif. All packets come from `peer`, or
    if that is None, `named` gives each its own. `keyed` gives each its `Control`. With `writable` each packet has
    memory of its own; at most `posted` bytes are posted. `failures` gets the errors. Close it with `close`.
    """

    __slots__ = (
        "_bytes",
        "_calls",
        "_control",
        "_control_key",
        "_copied",
        "_copied_segment",
        "_copying",
        "_denied",
        "_drops",
        "_dropped",
        "_dropped_messages",
        "_expected",
        "_failures",
        "_faults",
        "_header",
        "_header_bits",
        "_lock",
        "_longest",
        "_map",
        "_packets",
        "_peer",
        "_ready",
        "_seen_segment",
        "_sock",
        "_truncated",
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
        #: What `_receive_copied` received and isn't copied yet: bytes, and their segment size or 0.
        self._copied: Any = None
        self._copied_segment = 0
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
        self._header.set_peer(peer, cython.cast(Control, None))
        self._header_bits = 0
        self._packets = self._bytes = self._calls = 0
        self._denied = self._dropped = self._dropped_messages = self._truncated = self._faults = 0
        #: Whether datagrams are copied, and their mbufs stay posted; those that `pull_bytes` hasn't returned yet.
        self._copying = False
        self._untaken: list[Any] = []
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
            "dropped_messages": self._dropped_messages,
            "truncated": self._truncated,
            "faults": self._faults,
        }

    def expected(self) -> int:
        """How many datagrams the last message brought."""
        return self._expected

    def pull(self, n: int) -> list[Mbuf]:
        """At most `n` packets. See `Port.pull`."""
        count = check_count(n)
        self._lock.acquire()
        try:
            if not self._ready and count:
                if self._copied is not None:
                    self._make_copies()
                else:
                    self._receive(count)
                    if 2 * self._map.used > self._map.pages:
                        self._compact()
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
                    if self._copied is not None:
                        self._make_copies()
                    else:
                        self._receive(count)
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
        """How many packets have been received and not been pulled; at least."""
        return len(self._ready) + len(self._untaken) + (self._copied is not None)

    def close(self, push: CallLock | None = None) -> None:
        """Free all that is posted, and the packets that were not pulled; close also `push`, the lock of a sender."""
        # First: no other thread, and no listener of what is freed here, may post anything from now on.
        if not close_calls(self._lock, self._lock if push is None else push):
            return
        self._free_posted()
        packets = self._ready
        self._ready = []
        self._copied = None
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
                if not self._receive_copied() or self._ready:
                    return
                continue
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
            if self._failures.recverr:
                # Or the socket stays readable.
                self._faults += self._failures.read_queue()
            return False
        if error in FATAL_RECEIVE:
            raise OSError(error, os.strerror(error))
        self._faults += 1
        self._failures.add_pending(error)
        return True

    def _take_message(self, i: int) -> int:
        """Make packets of message `i`; the size of its datagrams if it was coalesced, else 0."""
        vector = self._vector
        size = vector.length(i)
        segment: int = vector.gro_size(i)
        if not 0 < segment < size:
            segment = 0
        drops = vector.drops(i)
        if drops:
            self._count_drops(drops, -(-size // segment) if segment else 1)
        if vector.truncated(i):
            self._truncated += 1
            return 0
        header = self._header
        if self._named:
            header.set_peer(self._peer_of(vector.name(i)), header.control)
        if self._keyed:
            header.set_peer(header.peer, self._control_of(vector.key(i)))
        bits = self._set_header(vector.timestamp(i), vector.precise(i), vector.vlan_tag(i))
        row: list[Any] = self._posted[i]
        if (segment or size) > self._longest:
            self._take_last(row, size, segment, bits)
            return 0
        self._bytes += size
        if self._copying:
            self._copy_message(row, size, segment, header.peer)
        elif segment == 0:
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

    def _copy_message(self, row: list[Any], size: int, segment: int, peer: Peer | None) -> None:
        """Copy the datagrams of a message, each of `segment` bytes, or one if that is 0; its mbufs stay posted."""
        ready = self._ready
        before = len(ready)
        each = segment or size
        piece = len(row)
        off = left = 0
        m: Any = None
        while True:
            count = min(each, size)
            data: Any = new_bytes(count)
            done = 0
            while done < count:
                if left == 0:
                    piece -= 1
                    m = cython.cast(Mbuf, row[piece])
                    check_alive(m)
                    left = m.count
                    off = m.off
                part = min(left, count - done)
                set_bytes(data, done, m.buf, off, part)
                done += part
                off += part
                left -= part
            ready.append((data if cython.compiled else bytes(data), peer))
            size -= count
            if size == 0:
                break
        self._count(len(ready) - before)

    def _set_header(self, timestamp: int, precise: bool, vlan_tag: int) -> int:
        """Set fields of the header that the packets of a message get; their flags."""
        header = self._header
        header.rcv_tstmp = timestamp
        header.PH_loc = self._dropped
        header.PH_per = vlan_tag
        bits: int = (M_TSTMP if timestamp else 0) | (M_VLANTAG if vlan_tag else 0)
        return bits | M_TSTMP_HPREC if precise else bits

    def _count_drops(self, drops: int, datagrams: int) -> None:
        """Count the drops that a message of `datagrams` datagrams has reported."""
        messages = (drops - self._drops) & 0xFFFFFFFF
        self._dropped_messages += messages
        self._dropped += messages * datagrams
        self._drops = drops

    def _take_last(self, row: list[Any], size: int, segment: int, bits: int) -> None:
        """Of a message of datagrams that are too long, make a packet of the last one if that is shorter."""
        lost = (size - 1) // segment if segment else 1
        last = size - lost * segment
        if 0 < last <= self._longest:
            m: Mbuf = from_rx(row, size, self._header, bits)
            m.adj(size - last)
            self._ready.append(m)
            self._bytes += last
            self._count(1)
        elif segment:
            lost += 1
        self._truncated += lost

    def _count(self, packets: int) -> None:
        """Count the packets of a message, and expect as many of the next one."""
        self._packets += packets
        self._expected = packets

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
            self._denied += parts - len(packets)
            self._bytes -= lost
        self._count(len(packets))
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
            self._denied += -(-lost // size)
            self._bytes -= lost
            m.adj(-lost)
        packets.append(m)
        return packets

    # Where the pool has too few clusters for a message.

    def _receive_copied(self) -> bool:
        """Receive one message to other memory than mbufs, if the pool has any mbuf at all; false if not."""
        # What is posted isn't enough for a message, and may be all that the pool has.
        self._free_posted()
        try:
            self._pool.getcl(M_NOWAIT, MT_DATA, 0).free()
        except (NoBufs, NoMemory):
            return False
        area = bytearray(self.size)
        self._calls += 1
        try:
            size, control, flags, address = self._sock.recvmsg_into([area], CONTROL_SIZE_IP, socket.MSG_DONTWAIT)
        except OSError as error:
            return self._retry(error.errno or errno.EAGAIN)
        segment, timestamp, drops, tag, precise, key = parsed(control)
        if not 0 < segment < size:
            segment = 0
        if drops:
            self._count_drops(drops, -(-size // segment) if segment else 1)
        if is_incomplete(flags, segment):
            self._truncated += 1
            return True
        header = self._header
        if self._named:
            header.set_peer(self._peer_of(packed(address)), header.control)
        if self._keyed:
            header.set_peer(header.peer, self._control_of(key))
        self._header_bits = self._set_header(timestamp, precise, tag)
        self._copied = memoryview(area)[:size]
        self._copied_segment = segment
        self._make_copies()
        return self._copied is None

    def _make_copies(self) -> None:
        """Make packets of what `_receive_copied` received, until the pool refuses an mbuf."""
        made = 0
        while self._copied is not None:
            rest = self._copied
            size: int = self._copied_segment
            if size == 0 or size > len(rest):
                size = len(rest)
            if size > self._longest:
                self._truncated += 1
            else:
                try:
                    m: Mbuf = self._pool.frombytes(rest[:size])
                except (NoBufs, NoMemory):
                    self._short += 1
                    break
                m.bits |= self._header_bits
                header = self._header
                m.hdr.rcv_tstmp, m.hdr.PH_loc, m.hdr.PH_per = header.rcv_tstmp, header.PH_loc, header.PH_per
                m.hdr.set_rcvif_or_tag(header.rcvif_or_tag, 0)
                m.hdr.set_peer(header.peer, header.control)
                self._ready.append(m)
                self._bytes += size
                made += 1
            self._copied = rest[size:] if size < len(rest) else None
        if made:
            self._count(made)
