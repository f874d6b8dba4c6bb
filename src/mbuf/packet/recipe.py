"""A chain to be made of the bytes of another, thought out before a byte moves.

Says which mbufs stay, what is appended to them and which new clusters are wanted, in the kernel's order; and,
given those, does it all at once. Never asks for memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_COPYFLAGS, M_EXT, M_EXTPG, M_PKTHDR, M_RDONLY, MCLBYTES, MT_DATA
from mbuf.errors import Busy, Inval
from mbuf.packet.shape import Shape, free_all


@cython.cclass
class Portion:
    """One mbuf of the chain to be: `base`, which stays where it is, or the new cluster `order` of those wanted.

    It will hold `count` bytes: the base's own, and those of `parts`, each (mbuf, first byte, how many), in `frags`
    pieces. Its
    number is `at`, that of the next one `after`: links of references would end in a deep recursion.
    """

    __slots__ = ("after", "at", "base", "count", "frags", "order", "parts")
    after: int
    at: int
    base: Shape | None
    count: int
    frags: int
    order: int
    parts: list[Any]


@cython.cclass
class Recipe:
    """Made by `recipe`. Then `collapse` or `unshare`, and `cook` with clusters of the types and flags in `wants`."""

    __slots__ = ("_count", "_first", "_gone", "_last", "_loosened", "_old", "_portions", "_total", "wants")
    _gone: dict[int, int]
    _old: list[Any]
    _portions: list[Any]
    _first: int
    _last: int
    _count: int
    _loosened: bool
    _total: int
    wants: list[tuple[int, int]]

    def begin(self, head: Shape) -> None:
        """Look at a chain, which must be live."""
        # How many users of a storage, by what counts them, there will be fewer.
        self._gone = {}
        self._old = []
        # All portions by their numbers, even those that are no more, and which come first and last.
        self._portions = []
        self._first = self._last = -1
        # Pieces that the bytes are in, and whether one that was shared has become writable since it was looked at.
        self._count = 0
        self._loosened = True
        self._total = 0
        self.wants = []
        m: Shape | None = head
        while m is not None:
            self._old.append(m)
            self._total += m.count
            m = cython.cast(Shape, m.follow())

    # What is thought out.

    def collapse(self, most: int) -> bool:
        """See m_collapse. True if there were few enough mbufs to begin with."""
        for m in self._old:
            self._add_last(self._portion(m, -1))
        enough = self._count <= most
        before: Portion = self._portions[0]
        if self._merge(before, most):
            return enough
        while True:
            before = self._pair(before)
            if before is None:
                if enough:
                    return True
                raise Inval(f"collapse: the packet can't be in {most} mbufs: see defrag")
            p: Portion = self._want(MT_DATA, 0)
            p.after = before.after
            before.after = p.at
            self._count += p.frags
            self._join(p)
            self._join(p)
            if self._count <= most or self._merge(p, most):
                return enough

    def _merge(self, p: Portion, most: int) -> bool:
        """Append to each portion from `p` on its neighbours that there is room for; true if that will do.

        Where nothing has changed since it was looked at, there is nothing to find.
        """
        whole = self._loosened
        self._loosened = False
        while p.after >= 0:
            n: Portion = self._portions[p.after]
            if self._writable(p) and n.count < self._space(p):
                self._join(p)
                if self._count <= most:
                    return True
            elif whole or self._loosened:
                p = n
            else:
                break
        return False

    def _pair(self, before: Portion) -> Any:
        """The portion before the first two neighbours, after this one, that fit into one cluster.

        Portions only grow: two that didn't fit once never will.
        """
        while before.after >= 0:
            n: Portion = self._portions[before.after]
            if n.after >= 0:
                second: Portion = self._portions[n.after]
                if n.count + second.count < MCLBYTES:
                    return before
            before = n
        return None

    def _join(self, p: Portion) -> None:
        """Have a portion hold what the next one would have held; that one is no more."""
        n: Portion = self._portions[p.after]
        self._add(p, n)
        p.after = n.after
        self._count -= n.frags

    def unshare(self) -> None:
        """See m_unshare."""
        for old in self._old:
            m: Shape = old
            p: Portion = self._portion(m, -1)
            last: Portion = self._portions[self._last] if self._last >= 0 else cython.cast(Portion, None)
            stays = bool(m.bits & M_EXT) and self._writable(p)
            if not stays and last is not None and self._external(last) and m.count <= self._space(last):
                self._add(last, p)
            elif stays or not m.bits & M_EXT:
                self._add_last(p)
            elif m.bits & M_PKTHDR and last is not None:
                raise Inval("unshare: an mbuf inside the chain has a packet header: see demote")
            else:
                self._copies(m)

    def _copies(self, m: Shape) -> None:
        """New clusters for the bytes of an mbuf."""
        flags = m.bits & M_COPYFLAGS
        if m.bits & M_EXTPG:
            # For its pages' sake only.
            flags &= ~M_RDONLY
        pieces = max(-(-m.count // MCLBYTES), 1)
        for i in range(pieces):
            p: Portion = self._want(m.kind, flags)
            p.count = min(m.count - i * MCLBYTES, MCLBYTES)
            p.parts.append((m, i * MCLBYTES, p.count))
            self._add_last(p)
            flags &= ~M_PKTHDR
        if flags & M_RDONLY:
            # The kernel goes on behind the first, finds the others read-only, and copies them once more.
            for p in self._portions[len(self._portions) - pieces + 1 :]:
                p.order = len(self.wants)
                self.wants.append((m.kind, flags))
        self._retire(m)

    def _portion(self, base: Shape | None, order: int) -> Portion:
        """What an mbuf is, or what a new cluster holds: nothing yet."""
        p: Portion = Portion.__new__(Portion)
        p.at = len(self._portions)
        p.after = -1
        p.base = base
        p.order = order
        p.count = 0 if base is None else base.count
        p.frags = base.store().frags() if base is not None and base.bits & M_EXT else 1
        p.parts = []
        self._portions.append(p)
        return p

    def _want(self, kind: int, flags: int) -> Portion:
        """A new cluster."""
        p = self._portion(None, len(self.wants))
        self.wants.append((kind, flags))
        return p

    def _add_last(self, p: Portion) -> None:
        if self._last >= 0:
            last: Portion = self._portions[self._last]
            last.after = p.at
        else:
            self._first = p.at
        self._last = p.at
        self._count += p.frags

    def _add(self, p: Portion, n: Portion) -> None:
        """Append what another portion would have held; that one is no more."""
        if n.base is not None:
            p.parts.append((n.base, 0, n.base.count))
            self._retire(n.base)
        p.parts += n.parts
        p.count += n.count

    def _retire(self, m: Shape) -> None:
        if m.bits & M_EXT:
            storage = m.store()
            gone = self._gone.get(id(storage.counter()), 0) + 1
            self._gone[id(storage.counter())] = gone
            if storage.counted() - gone == 1:
                self._loosened = True

    def _external(self, p: Portion) -> bool:
        return p.base is None or bool(p.base.bits & M_EXT)

    def _writable(self, p: Portion) -> bool:
        """`writable`, when all that is thought out so far is done."""
        m = p.base
        if m is None:
            return not self.wants[p.order][1] & M_RDONLY
        if m.bits & (M_RDONLY | M_EXTPG):
            return False
        if not m.bits & M_EXT:
            return True
        storage = m.store()
        return storage.counted() - self._gone.get(id(storage.counter()), 0) == 1 and not storage.fixed

    def _space(self, p: Portion) -> int:
        """`trailing`, when all that is thought out so far is done."""
        if not self._writable(p):
            return 0
        m = p.base
        if m is None:
            return MCLBYTES - p.count
        return m.start() + m.capacity() - m.off - p.count

    # What is done.

    def cook(self, stash: list[Any]) -> None:
        """Make the chain. The clusters are taken over, and what isn't needed in the end is freed."""
        appended: list[tuple[Portion, bytes]] = []
        try:
            self._same()
            for p in self._all():
                if p.base is None:
                    self._fill(stash[p.order], p)
                elif p.parts:
                    appended.append((p, self._bytes(p)))
        except BaseException:
            free_all(stash)
            raise
        # All that can fail has been done. No byte of the old chain was touched, so none was lost.
        for p, data in appended:
            m: Any = p.base
            m.buf.write(m.off + m.count, data, 0, len(data))
            m.count = p.count
        free_all(self._link(stash))

    def _all(self) -> list[Any]:
        """The portions that are to be, in order."""
        portions = []
        at = self._first
        while at >= 0:
            p: Portion = self._portions[at]
            portions.append(p)
            at = p.after
        return portions

    def _same(self) -> None:
        """Refuse a chain that has changed since: whoever brought the clusters may have waited for them."""
        total = 0
        m: Any = self._old[0]
        m.live()
        for old in self._old:
            if m is not old:
                raise Busy("the chain was changed by somebody else while a verb waited for memory")
            total += m.count
            m = cython.cast(Shape, m.follow())
        for p in self._all():
            if p.base is not None and p.parts and not self._writable(p):
                total = -1
        if m is not None or total != self._total:
            raise Busy("the chain was changed by somebody else while a verb waited for memory")

    def _fill(self, m: Shape, p: Portion) -> None:
        for source, skip, count in p.parts:
            src: Shape = source
            m.buf.copy(m.off + m.count, src.buf, src.off + skip, count)
            m.count += count

    def _bytes(self, p: Portion) -> bytes:
        pieces = []
        for source, skip, count in p.parts:
            src: Shape = source
            pieces.append(src.buf.read(src.off + skip, count))
        return b"".join(pieces)

    def _link(self, stash: list[Any]) -> list[Any]:
        """Link the new chain behind the head that there was; returns the mbufs that are in none."""
        head: Shape = self._old[0]
        chain = [stash[p.order] if p.base is None else p.base for p in self._all()]
        last = cython.cast(Shape, None)
        for m in chain:
            if last is not None:
                last._next = m
            last = m
        last._next = None
        kept = set(map(id, chain))
        spare = [m for m in [*self._old, *stash] if id(m) not in kept]
        first: Shape = chain[0]
        if first is not head:
            # The head stays: what it was goes in the place of what was new.
            if head.bits & M_PKTHDR:
                first.receive(head)
            head.swap(first)
            head._next = first._next
            spare = [first if m is head else m for m in spare]
        return spare


def recipe(head: Shape) -> Recipe:
    """Think about a chain, which must be live."""
    r: Recipe = Recipe.__new__(Recipe)
    r.begin(head)
    return r
