"""Packets in a line, linked by `nextpkt`.

Owns what is in it: a packet is in one queue at a time. Never allocates, never looks into a packet.
Whoever frees a packet in the queue, or unlinks one by hand, cuts the line there: what came after it is in the queue
no more. The queue notices by `LATCH.cuts`, and looks for its end again.
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
from mbuf.vm.ints import clip

if not cython.compiled:
    from mbuf.packet.segment import check_alive, taken
    from mbuf.vm.commit import LATCH, check_latch, enter_commit, leave_commit, put, settle


@cython.cclass
class MbufQ:
    """First in, first out. See mbufq in mbuf.h.

    Dropped, it drops its packets; `drain` frees them.
    """

    __slots__ = ("_count", "_cuts", "_first", "_last", "maxlen")
    _count: int
    _cuts: int
    _first: Mbuf | None
    _last: Mbuf | None

    def __init__(self, maxlen: int = 0) -> None:
        #: How many packets make it full; 0 or less: any number doesn't. See mbufq_init.
        self.maxlen = clip(maxlen)

    def __del__(self) -> None:
        m = self._first
        if m is not None:
            m.held = False
            self._first = self._last = None

    @property
    def first(self) -> Mbuf | None:
        """The packet to go first, None if there is none. See mbufq_first."""
        self._look()
        return self._first

    @property
    def last(self) -> Mbuf | None:
        """The packet to go last, None if there is none. See mbufq_last."""
        self._look()
        return self._last

    @property
    def count(self) -> int:
        """How many packets there are."""
        self._look()
        return self._count

    @property
    def full(self) -> bool:
        """True when `enqueue` takes no more. See mbufq_full."""
        self._look()
        return 0 < self.maxlen <= self._count

    def __len__(self) -> int:
        self._look()
        return self._count

    def length(self) -> int:
        """`count`."""
        self._look()
        return self._count

    def peek(self) -> Mbuf | None:
        """`first`."""
        self._look()
        return self._first

    def __bool__(self) -> bool:
        self._look()
        return self._count > 0

    def __iter__(self) -> Iterator[Mbuf]:
        """The packets that are there now, in order; they stay the queue's."""
        self._look()
        return iter(self._packets())

    def _packets(self) -> list[Any]:
        packets: list[Any] = []
        m: Any = self._first
        while m is not None and m.alive:
            packets.append(m)
            m = m._nextpkt
        return packets

    def enqueue(self, m: Mbuf) -> None:
        """Put a packet last; it is the queue's from then on. See mbufq_enqueue.

        Raises `NoBufs` when the queue is full: the packet stays the caller's.
        """
        check_latch()
        self._check(m)
        self._look()
        if 0 < self.maxlen <= self._count:
            raise NoBufs(f"the queue is full: it has {self.maxlen} packets", "", self.maxlen, self._count)
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
        """Put a packet first, even if the queue is full; it is the queue's from then on. See mbufq_prepend."""
        check_latch()
        self._check(m)
        self._look()
        enter_commit()
        m.held = True
        m._nextpkt = self._first
        self._first = m
        if self._last is None:
            self._last = m
        self._count += 1
        leave_commit()

    def dequeue(self) -> Mbuf | None:
        """Take the first packet, None if there is none; it is the caller's. See mbufq_dequeue."""
        check_latch()
        self._look()
        return self._take()

    def _take(self) -> Mbuf | None:
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
        """Free all packets, whatever is raised meanwhile. See mbufq_drain."""
        failure: BaseException | None = None
        m: Any = self.dequeue()
        while m is not None:
            try:
                m.freem()
            except BaseException as error:  # ends a program; raised when all is free
                failure = error
            m = self.dequeue()
        if failure is not None:
            raise failure

    def flush(self) -> Mbuf | None:
        """Take all packets, linked by `nextpkt`: the first, or None; they are the caller's. See mbufq_flush."""
        check_latch()
        self._look()
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
        """Take all packets of another queue behind one's own, even if that is too many. See mbufq_concat."""
        if other is None or other is self or not isinstance(other, MbufQ):
            raise Inval("concat: give another queue")
        check_latch()
        self._look()
        other._look()
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
        """Refuse what is no packet, or what is in a queue, or linked to another mbuf, already."""
        if m is None or not isinstance(m, Mbuf):
            raise Inval("give a packet")
        check_alive(m)
        if m._nextpkt is not None or taken(m):
            raise Inval("this packet is in a queue, or linked, already: dequeue it, or set nextpkt to None")

    def _look(self) -> int:
        """Find the end again if the line was cut, or something was linked behind it."""
        last = self._last
        if self._cuts == LATCH.cuts and (last is None or (last.alive and last._nextpkt is None)):
            return 0
        self._cuts = LATCH.cuts
        gone: Any = None
        enter_commit()
        m: Any = self._first
        if m is not None and not m.alive:
            # Freed, it leads nowhere.
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
            # May be the last reference.
            put(last)
        leave_commit()
        settle()
        return 0


if not cython.compiled:

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a new queue is empty, as a compiled one is."""
        q = object.__new__(cls)
        q._first = q._last = None
        q._count = q._cuts = q.maxlen = 0
        return q

    type.__setattr__(MbufQ, "__new__", _blank)
