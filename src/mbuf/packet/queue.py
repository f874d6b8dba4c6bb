"""Queues of packets, linked by `nextpkt`.

A packet is in one queue at a time, and the queue owns it. Nothing is allocated, and no packet is read.
A program may free a packet that is in a queue, or set its `nextpkt`. Then the queue ends there: the packets behind
that one are in the queue no longer. `LATCH.unlinks` counts such events in the process; if it has changed since the last
call, the queue is walked to find its end and its length again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval, NoBufs
from mbuf.packet.mbuf import Mbuf
from mbuf.vm.ints import integer

if not cython.compiled:
    from mbuf.packet.segment import check_alive, taken
    from mbuf.vm.commit import LATCH, check_latch, enter_commit, leave_commit, release_later, run_releases


@cython.cclass
class MbufQ:
    """A first-in, first-out queue of packets: `MbufQ(maxlen)`. See mbufq in mbuf.h.

    `maxlen` is the number of packets at which the queue is full; with 0 or less, it never is. Packets in the queue
    belong to it: `dequeue`, `flush` and `drain` take them out. If the queue is dropped, its packets are dropped.
    """

    __slots__ = ("_count", "_unlinks", "_first", "_last", "maxlen")
    _count: int
    _unlinks: int
    _first: Mbuf | None
    _last: Mbuf | None

    def __init__(self, maxlen: int = 0) -> None:
        #: The number of packets at which the queue is full; 0 or less for no limit. See mbufq_init.
        self.maxlen = integer(maxlen, "maxlen")

    def __del__(self) -> None:
        m = self._first
        if m is not None:
            m.held = False
            self._first = self._last = None

    @property
    def first(self) -> Mbuf | None:
        """The first packet, which stays in the queue; None if the queue is empty. See mbufq_first."""
        self._refresh()
        return self._first

    @property
    def last(self) -> Mbuf | None:
        """The last packet, which stays in the queue; None if the queue is empty. See mbufq_last."""
        self._refresh()
        return self._last

    @property
    def count(self) -> int:
        """The number of packets in the queue. See mbufq_len."""
        self._refresh()
        return self._count

    @property
    def full(self) -> bool:
        """True if `enqueue` would raise `NoBufs`. See mbufq_full."""
        self._refresh()
        return 0 < self.maxlen <= self._count

    def __len__(self) -> int:
        self._refresh()
        return self._count

    def length(self) -> int:
        """Return `count`."""
        self._refresh()
        return self._count

    def peek(self) -> Mbuf | None:
        """Return `first`."""
        self._refresh()
        return self._first

    def __bool__(self) -> bool:
        self._refresh()
        return self._count > 0

    def __iter__(self) -> Iterator[Mbuf]:
        """Iterate over the packets that are in the queue now, in order; they stay in it."""
        self._refresh()
        return iter(self._packets())

    def _packets(self) -> list[Any]:
        """Return the packets in order."""
        packets: list[Any] = []
        m: Any = self._first
        while m is not None and m.alive:
            packets.append(m)
            m = m._nextpkt
        return packets

    def enqueue(self, m: Mbuf) -> None:
        """Add a packet at the end; it belongs to the queue then. See mbufq_enqueue.

        Raises `NoBufs` if the queue is full, and `Inval` if the packet is linked or in a queue; then the packet still
        belongs to the caller.
        """
        check_latch()
        self._check(m)
        self._refresh()
        if 0 < self.maxlen <= self._count:
            raise NoBufs(
                f"the queue is full: {self._count} packets, and maxlen is {self.maxlen}: dequeue some, or raise maxlen",
                "",
                self.maxlen,
                self._count,
            )
        enter_commit()
        m.held = True
        if self._last is None:
            self._first = m
        else:
            self._last._nextpkt = m
        self._last = m
        self._count += 1
        leave_commit()

    def prepend(self, m: Mbuf) -> None:
        """Add a packet at the front, even if the queue is full; it belongs to the queue then. See mbufq_prepend.

        Raises `Inval` if the packet is linked or in a queue.
        """
        check_latch()
        self._check(m)
        self._refresh()
        enter_commit()
        m.held = True
        m._nextpkt = self._first
        self._first = m
        if self._last is None:
            self._last = m
        self._count += 1
        leave_commit()

    def dequeue(self) -> Mbuf | None:
        """Take out the first packet, which belongs to the caller; None if the queue is empty. See mbufq_dequeue."""
        check_latch()
        self._refresh()
        return self._take()

    def _take(self) -> Mbuf | None:
        """Take out the first packet, without a check for the end."""
        m: Any = self._first
        if m is None:
            return None
        enter_commit()
        self._first = m._nextpkt
        m._nextpkt = None
        m.held = False
        self._count -= 1
        if self._first is None:
            self._last = None
        leave_commit()
        found: Mbuf | None = m
        return found

    def drain(self) -> None:
        """Free all packets. What a callback raises is raised when all are freed. See mbufq_drain."""
        failure: BaseException | None = None
        m: Any = self.dequeue()
        while m is not None:
            try:
                m.freem()
            except BaseException as error:  # such as KeyboardInterrupt; raised when all are freed
                failure = error
            m = self.dequeue()
        if failure is not None:
            raise failure

    def flush(self) -> Mbuf | None:
        """Take out all packets, linked by `nextpkt`, and return the first, or None. See mbufq_flush.

        They belong to the caller.
        """
        check_latch()
        self._refresh()
        m: Any = self._first
        enter_commit()
        if m is not None:
            m.held = False
        self._first = self._last = None
        self._count = 0
        leave_commit()
        first: Mbuf | None = m
        return first

    def concat(self, other: MbufQ) -> None:
        """Move all packets of another queue to the end of this one, even if it is full then. See mbufq_concat."""
        if other is None or other is self or not isinstance(other, MbufQ):
            raise Inval("concat: give another MbufQ")
        check_latch()
        self._refresh()
        other._refresh()
        if other._first is None:
            return
        enter_commit()
        if self._last is None:
            self._first = other._first
        else:
            self._last._nextpkt = other._first
        self._last = other._last
        self._count += other._count
        other._first = other._last = None
        other._count = 0
        leave_commit()

    def _check(self, m: Mbuf) -> None:
        """Raise `Inval` for what isn't an mbuf, or is linked or in a queue; `Freed` for a freed one."""
        if m is None or not isinstance(m, Mbuf):
            raise Inval("give an mbuf, the first of a packet")
        check_alive(m)
        if m._nextpkt is not None or taken(m):
            raise Inval("this packet is linked or in a queue already: dequeue it, or set nextpkt to None")

    def _refresh(self) -> int:
        """Find the end again, and count, if a packet was freed or unlinked, or one was linked behind the last."""
        last = self._last
        if self._unlinks == LATCH.unlinks and (last is None or (last.alive and last._nextpkt is None)):
            return 0
        self._unlinks = LATCH.unlinks
        gone: Any = None
        enter_commit()
        m: Any = self._first
        if m is not None and not m.alive:
            # A freed packet has no next one.
            gone = m  # noqa: F841 (its last reference, until the commit is over)
            m.held = False
            m = self._first = None
        self._last = None
        self._count = 0
        while m is not None:
            self._last = m
            self._count += 1
            n: Any = m._nextpkt
            if n is not None and not n.alive:
                n.held = False
                m._nextpkt = None
                n = None
            m = n
        if last is not None and last is not self._last:
            # This may be the last reference: drop it after the commit.
            release_later(last)
        leave_commit()
        run_releases()
        return 0


if not cython.compiled:

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a queue is empty before `__init__`, as compiled."""
        q = object.__new__(cls)
        q._first = q._last = None
        q._count = q._unlinks = q.maxlen = 0
        return q

    type.__setattr__(MbufQ, "__new__", _blank)
