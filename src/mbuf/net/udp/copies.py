# cython: boundscheck=False, wraparound=False
"""Datagrams that are copied out of the memory that they were received into.

* `copy_datagrams`: the program wants bytes. They are copied, and the mbufs stay posted for the next message.
* `compact_small`: much of the pool is held. A small datagram that the program keeps doesn't hold its cluster then.
* `LateCopies`: the pool has too few clusters for a message, which is received into memory of Python's. Its datagrams
  are copied from there, each when the pool has mbufs for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.pool.pool import Pool
else:
    from mbuf.shadow import cython

from mbuf.const import MHLEN, MLEN
from mbuf.errors import MbufError, NoBufs, NoMemory
from mbuf.net.udp.receivecounts import ReceiveCounts
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.peer import Peer
from mbuf.packet.pkthdr import PktHdr
from mbuf.vm.buffer_export import export_buffer
from mbuf.vm.page import Exporter, Memory

if not cython.compiled:
    from mbuf.packet.segment import check_alive
    from mbuf.vm.scan import new_bytes, set_bytes

#: Most bytes of a datagram that two mbufs hold: if memory is short, it gets out of its cluster.
SMALL = MHLEN + MLEN


def copy_datagrams(ready: list[Any], row: list[Any], size: int, segment: int, peer: Peer | None) -> None:
    """Add the datagrams of a message to a list, each of `segment` bytes, or one if that is 0, with their peer.

    The message has `size` bytes, in the mbufs of `row`, the last one first.
    """
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


def compact_small(packets: list[Any]) -> None:
    """Copy small datagrams out of large clusters."""
    try:
        for n in range(len(packets)):
            m = cython.cast(Mbuf, packets[n])
            if m.hdr.len <= SMALL:
                m.compact()
    except (MbufError, IndexError):
        # There is no mbuf, or a free routine has closed the port.
        pass


@cython.cclass
class LateCopies:
    """A message in memory of Python's: `window` is the room for it, of `size` bytes.

    When it has been received, `begin` says how long it is, and what the headers of its packets have. `copy` makes
    packets of its datagrams.
    """

    __slots__ = ("_area", "_bits", "_header", "_rest", "_segment", "window")

    def __init__(self, size: int) -> None:
        self._area = bytearray(size)
        self.window: Exporter = _window_of(self._area)

    def begin(self, size: int, segment: int, header: PktHdr, bits: int) -> None:
        """The message has `size` bytes, in datagrams of `segment` bytes, or one if that is 0."""
        self._rest = memoryview(self._area)[:size]
        self._segment = segment or size
        self._header: PktHdr = header
        self._bits = bits

    def left(self) -> int:
        """How many datagrams weren't copied."""
        return max(-(-len(self._rest) // max(self._segment, 1)), 1)

    def copy(self, ready: list[Any], pool: Pool, longest: int, counts: ReceiveCounts) -> bool:
        """Add packets to a list until the pool refuses an mbuf, but none of more than `longest` bytes; true if done."""
        made = 0
        done = False
        header = self._header
        while not done:
            rest = self._rest
            size = min(self._segment, len(rest))
            if size > longest:
                counts.truncated += 1
            else:
                try:
                    m: Mbuf = pool.frombytes(rest[:size])
                except (NoBufs, NoMemory):
                    counts.shortages += 1
                    break
                m.bits |= self._bits
                m.hdr.rcv_tstmp, m.hdr.PH_loc, m.hdr.PH_per = header.rcv_tstmp, header.PH_loc, header.PH_per
                m.hdr.set_rcvif_or_tag(header.rcvif_or_tag, 0)
                m.hdr.set_peer(header.peer, header.control)
                ready.append(m)
                counts.bytes_in += size
                made += 1
            self._rest = rest[size:]
            done = size == len(rest)
        if made:
            counts.add_packets(made)
        return done


def _window_of(area: bytearray) -> Exporter:
    """The bytes of an object, to be written by a `RecvVector`."""
    memory: Memory = Memory.__new__(Memory)
    memory.use_export(export_buffer(area))
    window: Exporter = Exporter.__new__(Exporter)
    window.buf = memory
    window.off = 0
    window.count = memory.size
    return window
