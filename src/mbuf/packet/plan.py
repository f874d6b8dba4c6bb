"""The compaction plan: what `collapse` and `unshare` do to a chain, computed before a byte moves.

How many clusters the kernel takes depends on what it has merged before, so its steps are simulated on numbers first.
A `Step` is one mbuf of the chain to be: an mbuf that stays (`base`) or a new cluster (`order`), and the parts of other
mbufs whose bytes are appended to it. The plan then says which clusters are wanted, in the kernel's order.

    chain   [a 100] -> [b 50] -> [c 2048 shared]        unshare: step(base=a, parts=[b]) -> step(order=0, parts=[c])

`execute` copies the bytes to where nobody looks yet, looks whether the chain is still what the plan was made for, and
then links the new chain in one step. Never asks for memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.vm.page import Memory
else:
    from mbuf.shadow import cython

from mbuf.const import M_COPYFLAGS, M_EXT, M_EXTPG, M_PKTHDR, M_RDONLY, MCLBYTES, MT_DATA
from mbuf.errors import Inval
from mbuf.packet.chain import Chain
from mbuf.vm.scan import row

if not cython.compiled:
    from mbuf.packet.chain import cut, fingerprint, link, next_checked, release, swap
    from mbuf.packet.header import move_header
    from mbuf.packet.segment import bound, capacity, check_alive, start, store
    from mbuf.vm.commit import enter_commit, leave_commit, settle


@cython.cclass
class Step:
    """One mbuf of the chain to be: `base`, which stays where it is, or the new cluster `order` of those wanted.

    It will hold `count` bytes: the base's own, and those of `parts`, each (mbuf, first byte, how many), in `frags`
    pieces. Its number is `at`, that of the next one `after`: links of references would end in a deep recursion.
    """

    __slots__ = ("after", "at", "base", "count", "frags", "order", "parts")
    after: int
    at: int
    base: Chain | None
    count: int
    frags: int
    order: int
    parts: list[Any]


@cython.cclass
class Plan:
    """Made by `plan`. Then `collapse` or `unshare`, and `execute` with clusters of the types and flags in `wants`."""

    __slots__ = ("_count", "_first", "_gone", "_freed_up", "_last", "_mark", "_old", "_own", "_steps", "wants")
    _gone: dict[int, int]
    _old: list[Any]
    _steps: list[Any]
    _first: int
    _last: int
    _count: int
    _freed_up: bool
    _mark: int
    _own: bool
    wants: list[tuple[int, int]]

    def begin(self, head: Chain) -> None:
        """Look at a chain, which must be live."""
        # How many users of a storage, by what counts them, there will be fewer.
        self._gone = {}
        self._old = []
        # All steps by their numbers, even those that are no more, and which come first and last.
        self._steps = []
        self._first = self._last = -1
        # Pieces that the bytes are in, and whether one that was shared has become writable since it was looked at.
        self._count = 0
        self._freed_up = True
        # Whether what stays must be the mbuf's own.
        self._own = False
        self.wants = []
        self._mark = fingerprint(head)
        m: Chain | None = head
        while m is not None:
            self._old.append(m)
            m = next_checked(m)

    # What is computed.

    def collapse(self, most: int) -> bool:
        """See m_collapse. True if there were few enough mbufs to begin with."""
        for m in self._old:
            self._add_last(self._step(m, -1))
        enough = self._count <= most
        before: Step = self._steps[0]
        if self._merge(before, most):
            return enough
        while True:
            before = self._pair(before)
            if before is None:
                if enough:
                    return True
                raise Inval(f"collapse: the packet can't be in {most} mbufs: see defrag")
            p: Step = self._want(MT_DATA, 0)
            p.after = before.after
            before.after = p.at
            self._count += p.frags
            self._join(p)
            self._join(p)
            if self._count <= most or self._merge(p, most):
                return enough

    def _merge(self, p: Step, most: int) -> bool:
        """Append to each step from `p` on its neighbours that there is room for; true if that will do.

        Where nothing has changed since it was looked at, there is nothing to find.
        """
        whole = self._freed_up
        self._freed_up = False
        while p.after >= 0:
            n: Step = self._steps[p.after]
            if self._writable(p) and n.count < self._space(p):
                self._join(p)
                if self._count <= most:
                    return True
            elif whole or self._freed_up:
                p = n
            else:
                break
        return False

    def _pair(self, before: Step) -> Any:
        """The step before the first two neighbours, after this one, that fit into one cluster.

        Steps only grow: two that didn't fit once never will.
        """
        while before.after >= 0:
            n: Step = self._steps[before.after]
            if n.after >= 0:
                second: Step = self._steps[n.after]
                if n.count + second.count < MCLBYTES:
                    return before
            before = n
        return None

    def _join(self, p: Step) -> None:
        """Have a step hold what the next one would have held; that one is no more."""
        n: Step = self._steps[p.after]
        self._add(p, n)
        p.after = n.after
        self._count -= n.frags

    def unshare(self) -> None:
        """See m_unshare."""
        self._own = True
        for old in self._old:
            m: Chain = old
            p: Step = self._step(m, -1)
            last: Step = self._steps[self._last] if self._last >= 0 else cython.cast(Step, None)
            stays = bool(m.bits & M_EXT) and self._writable(p)
            if not stays and last is not None and self._external(last) and m.count <= self._space(last):
                self._add(last, p)
            elif stays or not m.bits & M_EXT:
                self._add_last(p)
            elif m.bits & M_PKTHDR and last is not None:
                raise Inval("unshare: an mbuf inside the chain has a packet header: see demote")
            else:
                self._copies(m)

    def _copies(self, m: Chain) -> None:
        """New clusters for the bytes of an mbuf."""
        flags = m.bits & M_COPYFLAGS
        if m.bits & M_EXTPG:
            # For its pages' sake only.
            flags &= ~M_RDONLY
        pieces = max(-(-m.count // MCLBYTES), 1)
        for i in range(pieces):
            p: Step = self._want(m.kind, flags)
            p.count = min(m.count - i * MCLBYTES, MCLBYTES)
            p.parts.append((m, i * MCLBYTES, p.count))
            self._add_last(p)
            flags &= ~M_PKTHDR
        if flags & M_RDONLY:
            # The kernel goes on behind the first, finds the others read-only, and copies them once more.
            for p in self._steps[len(self._steps) - pieces + 1 :]:
                p.order = len(self.wants)
                self.wants.append((m.kind, flags))
        self._retire(m)

    def _step(self, base: Chain | None, order: int) -> Step:
        """What an mbuf is, or what a new cluster holds: nothing yet."""
        p: Step = Step.__new__(Step)
        p.at = len(self._steps)
        p.after = -1
        p.base = base
        p.order = order
        p.count = 0 if base is None else base.count
        p.frags = store(base).frags() if base is not None and base.bits & M_EXT else 1
        p.parts = []
        self._steps.append(p)
        return p

    def _want(self, kind: int, flags: int) -> Step:
        """A new cluster."""
        p = self._step(None, len(self.wants))
        self.wants.append((kind, flags))
        return p

    def _add_last(self, p: Step) -> None:
        if self._last >= 0:
            last: Step = self._steps[self._last]
            last.after = p.at
        else:
            self._first = p.at
        self._last = p.at
        self._count += p.frags

    def _add(self, p: Step, n: Step) -> None:
        """Append what another step would have held; that one is no more."""
        if n.base is not None:
            p.parts.append((n.base, 0, n.base.count))
            self._retire(n.base)
        p.parts += n.parts
        p.count += n.count

    def _retire(self, m: Chain) -> None:
        if m.bits & M_EXT:
            storage = store(m)
            gone = self._gone.get(id(storage.counter()), 0) + 1
            self._gone[id(storage.counter())] = gone
            if storage.counted() - gone == 1:
                self._freed_up = True

    def _external(self, p: Step) -> bool:
        return p.base is None or bool(p.base.bits & M_EXT)

    def _writable(self, p: Step) -> bool:
        """`writable`, when all that is planned so far is done."""
        m = p.base
        if m is None:
            return not self.wants[p.order][1] & M_RDONLY
        if m.bits & (M_RDONLY | M_EXTPG):
            return False
        if not m.bits & M_EXT:
            return True
        storage = store(m)
        return storage.counted() - self._gone.get(id(storage.counter()), 0) == 1 and not storage.fixed

    def _space(self, p: Step) -> int:
        """`trailing`, when all that is planned so far is done."""
        if not self._writable(p):
            return 0
        m = p.base
        if m is None:
            return MCLBYTES - p.count
        return start(m) + capacity(m) - m.off - p.count

    # What is done.

    def execute(self, reserved: list[Any]) -> bool:
        """Make the chain; false if it has changed since, and then nothing was done.

        The clusters are taken over, and what isn't needed in the end is freed.
        """
        done = False
        try:
            appended: list[Any] = []
            chain: list[Any] = []
            for p in self._all():
                step: Step = p
                if step.base is None:
                    self._fill(reserved[step.order], step)
                    chain.append(reserved[step.order])
                else:
                    if step.parts:
                        appended.append((step, row(self._bytes(step))))
                    chain.append(step.base)
            kept = set(map(id, chain))
            spare: list[Any] = []
            for m in [*self._old, *reserved]:
                if id(m) not in kept:
                    spare.append(m)
            if self._same(appended):
                done = True
                self._commit(appended, chain, spare)
        except IndexError:
            # Bytes that are no longer where they were.
            if fingerprint(self._old[0]) == self._mark:
                raise
        finally:
            if not done:
                free_all(reserved)
            settle()
        return done

    def _all(self) -> list[Any]:
        """The steps that are to be, in order."""
        steps = []
        at = self._first
        while at >= 0:
            p: Step = self._steps[at]
            steps.append(p)
            at = p.after
        return steps

    def _same(self, appended: list[Any]) -> bool:
        """True when the chain is as it was, and what is appended to may be written."""
        head: Chain = self._old[0]
        check_alive(head)
        if fingerprint(head) != self._mark:
            return False
        if self._own:
            for step in self._all():
                stays: Step = step
                if stays.base is not None and stays.base.bits & M_EXT and not self._writable(stays):
                    return False
        for step, data in appended:
            p: Step = step
            more: Memory = data
            base: Chain = cython.cast(Chain, p.base)
            if not self._writable(p) or base.off + base.count + more.size > bound(base):
                return False
        return True

    def _fill(self, m: Chain, p: Step) -> None:
        for source, skip, count in p.parts:
            src: Chain = source
            m.buf.copy(m.off + m.count, src.buf, src.off + skip, count)
            m.count += count

    def _bytes(self, p: Step) -> bytes:
        pieces = []
        for source, skip, count in p.parts:
            src: Chain = source
            pieces.append(src.buf.read(src.off + skip, count))
        return b"".join(pieces)

    def _commit(self, appended: list[Any], chain: list[Any], spare: list[Any]) -> None:
        """Write what is appended, link the new chain behind the head that there was, and free the others."""
        enter_commit()
        try:
            self._relink(appended, chain, spare)
        finally:
            leave_commit()

    def _relink(self, appended: list[Any], chain: list[Any], spare: list[Any]) -> None:
        for pair in appended:
            p: Step = pair[0]
            data: Memory = pair[1]
            m: Chain = cython.cast(Chain, p.base)
            m.buf.move(m.off + m.count, data, 0, data.size)
            m.count = p.count
        for old in self._old:
            cut(old)
        head: Chain = self._old[0]
        first: Chain = chain[0]
        if first is not head:
            # The head stays: what it was goes in the place of what was new.
            if head.bits & M_PKTHDR:
                move_header(first, head)
            swap(head, first)
        last: Chain = head
        for n in range(1, len(chain)):
            m = chain[n]
            link(last, m)
            last = m
        for old in spare:
            m = first if old is head else old
            release(m)


def free_all(mbufs: list[Any]) -> None:
    """Free mbufs that are nobody's any more, each by itself; the caller settles."""
    enter_commit()
    for thing in mbufs:
        m: Chain = thing
        if m.alive:
            cut(m)
            release(m)
    leave_commit()


def plan(head: Chain) -> Plan:
    """Look at a chain, which must be live."""
    made: Plan = Plan.__new__(Plan)
    made.begin(head)
    return made
