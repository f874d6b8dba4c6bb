"""The send side of an endpoint: datagrams that wait to be pushed to a port.

`put` copies a datagram into an mbuf, which it appends to `packets`, and calls `flush`, unless the outbox is `corked`:
then the transport sends all together later. When there are `BATCH`, `flush` is called in any case.

Bytes that the pool has no cluster for are not copied but referred to. If it has no mbuf either, they wait in `waiting`,
and everything behind them, for the order to be kept: that is back-pressure, as their bytes count in `size` too.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.vm.buffer_export import BufferExport
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, M_PKTHDR
from mbuf.errors import NoBufs, NoMemory
from mbuf.net.aio.addresses import Addresses
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.peer import Peer
from mbuf.pool.pool import Pool
from mbuf.vm.buffer_export import export_buffer

if not cython.compiled:
    from mbuf.net.port.rules import check_ready
    from mbuf.packet.chain import length
    from mbuf.packet.segment import check_mutable
    from mbuf.pool.build import frombytes, wrap
    from mbuf.vm.commit import run_releases

#: The most packets that wait for the end of a callback: as many as one GSO message has at most.
BATCH = 64

#: What a queued datagram counts for beside its bytes, as in asyncio from Python 3.13 on: an empty one counts too.
HEADER = 8


@cython.cclass
class Outbox:
    """What an endpoint sends, in order.

    `fixed` says that all goes to one peer, `remote` or the peer of the connected socket: then a packet gets no address.
    `find_peer(address)` is called for an address that isn't known: it returns the peer, or None if it has reported that
    there is none, or raises. `longest` is the most bytes of a datagram. `flush` has no arguments.
    """

    __slots__ = (
        "_addresses",
        "_find_peer",
        "_fixed",
        "_flush",
        "_longest",
        "_pool",
        "_remote",
        "closed",
        "corked",
        "dropped",
        "packets",
        "size",
        "waiting",
    )

    def __init__(
        self,
        pool: Pool,
        addresses: Addresses,
        find_peer: Callable[[Any], Peer | None],
        fixed: bool,
        remote: Any,
        longest: int,
        flush: Callable[[], object],
    ) -> None:
        self._pool = pool
        self._addresses = addresses
        self._find_peer = find_peer
        self._fixed = fixed
        self._remote = remote
        self._longest = longest
        self._flush: Any = flush
        #: What is sent next.
        self.packets: list[Mbuf] = []
        #: Bytes that wait for an mbuf, each with its peer.
        self.waiting: deque[tuple[bytes, Peer | None]] = deque()
        #: The bytes of both, and `HEADER` for each datagram.
        self.size = 0
        #: Whether `flush` will be called without `put` doing it.
        self.corked = False
        #: Whether datagrams are dropped from now on.
        self.closed = False
        #: How many were dropped.
        self.dropped = 0

    def put(self, data: Any, address: Any) -> None:
        """Queue a datagram: bytes, which are copied, or a packet, which belongs to this then."""
        peer: Peer | None = None
        if self._fixed:
            if address is not None and self._remote is not None and address != self._remote:
                raise ValueError(f"Invalid address: must be None or {self._remote}")
        elif address is not None:
            peer = self._addresses.peer_of(address)
        if isinstance(data, Mbuf):
            self._put_mbuf(cython.cast(Mbuf, data), peer, address)
            return
        try:
            export = export_buffer(data)
        except TypeError:
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}") from None
        try:
            size = export.size
            if self.closed:
                self.dropped += 1
                return
            if peer is None and not self._fixed:
                peer = self._find_peer(address)
                if self.closed:
                    # By Python code that the search ran.
                    self.dropped += 1
                    return
                if peer is None:
                    return
            if size > self._longest:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            wait = len(self.waiting) != 0
            if wait or not self._copy(export, peer):
                self.waiting.append((memoryview(data).tobytes(), peer))
                self.size += size + HEADER
                if not wait:
                    self.refill()
        finally:
            export.release()
            run_releases()
        self._queued()

    def _copy(self, export: BufferExport, peer: Peer | None) -> bool:
        """Queue a copy of bytes; false if the pool has no mbufs for them."""
        try:
            m: Mbuf = frombytes(self._pool._allocator, export, M_NOWAIT, 0, M_PKTHDR, None)
        except (NoBufs, NoMemory):
            return False
        self._append(m, peer, export.size)
        return True

    def _append(self, m: Mbuf, peer: Peer | None, size: int) -> None:
        if peer is not None:
            m.hdr.set_peer(peer, m.hdr.control)
        self.packets.append(m)
        self.size += size + HEADER

    def _put_mbuf(self, m: Mbuf, peer: Peer | None, address: Any) -> None:
        """`put` of a packet. It belongs to the caller if this raises, except for OSError, which is told."""
        check_mutable(m)
        check_ready("sendto", m)
        if not self._fixed:
            if address is None and m.bits & M_PKTHDR and m.hdr.peer is not None:
                # It goes where it came from.
                peer = m.hdr.peer
            elif not m.bits & M_PKTHDR:
                raise ValueError("sendto: this mbuf has no packet header to keep an address in: use pool.gethdr")
            elif peer is None:
                try:
                    peer = self._find_peer(address)
                except OSError:
                    if m.alive:
                        m.freem()
                    raise
                # The search runs Python code, which may free the packet, or take its header.
                check_mutable(m)
                check_ready("sendto", m)
                if not m.bits & M_PKTHDR:
                    raise ValueError("sendto: other code took the packet header of this mbuf during the call")
        if self.closed or (peer is None and not self._fixed):
            m.freem()
            self.dropped += self.closed
        else:
            self._append(m, peer, length(m))
            self._queued()

    def _queued(self) -> None:
        if not self.corked or len(self.packets) == BATCH:
            self._flush()

    def refill(self) -> bool:
        """Queue bytes that wait for mbufs, in order, as long as the pool has some; whether none wait any more."""
        while len(self.waiting):
            data, peer = self.waiting[0]
            try:
                m = wrap(self._pool._allocator, data, None)
            except (NoBufs, NoMemory):
                return False
            finally:
                run_releases()
            self.waiting.popleft()
            self.size -= len(data) + HEADER
            self._append(m, peer, len(data))
        return True

    def recount(self) -> None:
        """Compute `size` again, after packets were sent."""
        size = 0
        for m in self.packets:
            size += length(cython.cast(Mbuf, m)) + HEADER
        for data, _ in self.waiting:
            size += len(data) + HEADER
        self.size = size

    def drop_freed(self) -> int:
        """Remove and count the packets that were freed already; how many they were."""
        kept: list[Any] = []
        for thing in self.packets:
            if cython.cast(Mbuf, thing).alive:
                kept.append(thing)
        count = len(self.packets) - len(kept)
        self.dropped += count
        self.packets = kept
        return count

    def drop_all(self) -> None:
        """Free and count all that waits."""
        self.dropped += len(self.packets) + len(self.waiting)
        self.waiting.clear()
        self.size = 0
        self._pool.free_bulk(self.packets)

    def disconnect(self) -> None:
        """Forget what refers to the transport: `flush` isn't called once this is closed."""
        self._flush = None
