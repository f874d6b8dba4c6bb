"""The compaction plan: what `collapse` and `unshare` do to a chain, computed before a byte moves.

How many clusters m_collapse and m_unshare allocate depends on what they have merged before. The kernel allocates while
it changes the chain: if an allocation fails, the chain is half changed, or freed. Here a method that fails changes
nothing, so all clusters must be there before the first change. They must be as many as in the kernel, requested in its
order, because the counters show that. Therefore the kernel's steps are first simulated on numbers.

    old chain   [a: cluster, 100] -> [b: 50] -> [c: shared cluster, 2048]
    unshare     Step(base=a, parts=[b]) -> Step(request=0, parts=[c])
    new chain   [a: cluster, 150] -> [new cluster, 2048]

A `Step` is one mbuf of the new chain. It has a `base`, which is an mbuf of the old chain that stays, or the number of
a new cluster in `requests`; and `parts`, the bytes of other mbufs that are appended to it. An mbuf that isn't the
base of a step is freed in the end. Steps are linked by number (`next`). A step that was merged into another stays in
`_steps`, but no link leads to it. (Links by reference would be freed by recursion, as deep as the chain is long.)

The simulation needs two facts of the state that the kernel would have reached. The length of an mbuf is `count` of its
step. Whether its storage is still shared is the count of users now, less those that the plan has taken off
(`_removed_users`, by `Storage.counter`). Both only move in one direction: steps grow, users become fewer. So two
neighbours that were too large for one cluster stay so, and `_find_pair` never goes back; and `_merge` needs to go on
past a step without room only if some storage has become writable since (`_became_writable`). The work is linear in
the mbufs, but for those passes.

The phases, which `defrag.collapse` and `defrag.unshare` drive:

1. Plan: read the chain, take its fingerprint, fill `_steps` and `requests`. Nothing changes.
2. Acquire: the caller allocates a cluster for each of `requests`. It may wait, and other code may run.
3. `execute` copies bytes to where no user sees them: into the new clusters, and for an mbuf that stays, into a
   buffer. Unmapped pages may have to be mapped for that, so this may fail or let other code run, too.
4. `execute` compares the fingerprint, and checks again that what is written to is writable, because sharing an mbuf
   from elsewhere changes a count but not this chain. If anything differs, it frees the clusters and returns
   False; the caller makes another plan.
5. Commit: write the appended bytes, cut all links, link the new chain, free what isn't part of it. If the new chain
   begins with another mbuf, the two exchange their contents (`chain.swap`): the caller's mbuf is still the first.

A plan for a chain that hasn't changed is therefore carried out completely or not at all.
This module never allocates an mbuf.
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
from mbuf.vm.scan import contiguous

if not cython.compiled:
    from mbuf.packet.chain import cut, fingerprint, link, next_checked, release, swap
    from mbuf.packet.header import move_header
    from mbuf.packet.segment import bound, capacity, check_alive, start, storage_of
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


@cython.cclass
class Step:
    """One mbuf of the new chain: `base`, an mbuf that stays, or if that is None the new cluster number `request`.

    It will hold `count` bytes: those of the base, and those of `parts`, each (mbuf, first byte, number of bytes). They
    lie in `frags` pieces. `index` is the number of this step, `next` that of the next one, or -1.
    """

    __slots__ = ("next", "index", "base", "count", "frags", "request", "parts")
    next: int
    index: int
    base: Chain | None
    count: int
    frags: int
    request: int
    parts: list[Any]


@cython.cclass
class Plan:
    """Made by `plan`. Call `collapse` or `unshare`, then `execute` with a cluster for each of `requests`."""

    __slots__ = (
        "_count",
        "_first",
        "_removed_users",
        "_became_writable",
        "_last",
        "_fingerprint",
        "_mbufs",
        "_must_own",
        "_steps",
        "requests",
    )
    _removed_users: dict[int, int]
    _mbufs: list[Any]
    _steps: list[Any]
    _first: int
    _last: int
    _count: int
    _became_writable: bool
    _fingerprint: int
    _must_own: bool
    requests: list[tuple[int, int]]

    def init(self, head: Chain) -> None:
        """Read a live chain."""
        # By the counter of a storage: how many of its users the plan takes off.
        self._removed_users = {}
        self._mbufs = []
        # All steps by number, merged ones too, and the numbers of the first and the last.
        self._steps = []
        self._first = self._last = -1
        # Pieces that the bytes lie in. Whether shared storage has become writable since `_merge` last passed it.
        self._count = 0
        self._became_writable = True
        # Whether an mbuf that stays must be writable.
        self._must_own = False
        self.requests = []
        self._fingerprint = fingerprint(head)
        m: Chain | None = head
        while m is not None:
            self._mbufs.append(m)
            m = next_checked(m)

    # Planning.

    def collapse(self, most: int) -> bool:
        """Plan m_collapse. True if the chain already had at most `most` pieces."""
        for m in self._mbufs:
            self._add_last(self._step(m, -1))
        enough = self._count <= most
        before: Step = self._steps[0]
        if self._merge(before, most):
            return enough
        while True:
            before = self._find_pair(before)
            if before is None:
                if enough:
                    return True
                raise Inval(f"collapse: the packet can't be in {most} mbufs: see defrag")
            p: Step = self._request(MT_DATA, 0)
            p.next = before.next
            before.next = p.index
            self._count += p.frags
            self._join(p)
            self._join(p)
            if self._count <= most or self._merge(p, most):
                return enough

    def _merge(self, p: Step, most: int) -> bool:
        """Append to each step, from `p` on, the next ones that fit; true if there are few enough pieces then.

        Stops early at a step without room, unless storage has become writable since the last pass.
        """
        whole = self._became_writable
        self._became_writable = False
        while p.next >= 0:
            n: Step = self._steps[p.next]
            if self._writable(p) and n.count < self._space(p):
                self._join(p)
                if self._count <= most:
                    return True
            elif whole or self._became_writable:
                p = n
            else:
                break
        return False

    def _find_pair(self, before: Step) -> Any:
        """Return the step before the first two neighbours, after `before`, that fit into one cluster, or None."""
        while before.next >= 0:
            n: Step = self._steps[before.next]
            if n.next >= 0:
                second: Step = self._steps[n.next]
                if n.count + second.count < MCLBYTES:
                    return before
            before = n
        return None

    def _join(self, p: Step) -> None:
        """Merge the next step into this one."""
        n: Step = self._steps[p.next]
        self._add(p, n)
        p.next = n.next
        self._count -= n.frags

    def unshare(self) -> None:
        """Plan m_unshare."""
        self._must_own = True
        for old in self._mbufs:
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
                self._replace(m)

    def _replace(self, m: Chain) -> None:
        """Plan new clusters for the bytes of an mbuf."""
        flags = m.bits & M_COPYFLAGS
        if m.bits & M_EXTPG:
            # Unmapped pages are always marked read-only. Their copy isn't.
            flags &= ~M_RDONLY
        pieces = max(-(-m.count // MCLBYTES), 1)
        for i in range(pieces):
            p: Step = self._request(m.kind, flags)
            p.count = min(m.count - i * MCLBYTES, MCLBYTES)
            p.parts.append((m, i * MCLBYTES, p.count))
            self._add_last(p)
            flags &= ~M_PKTHDR
        if flags & M_RDONLY:
            # The kernel continues after the first copy, finds the others marked read-only, and copies them once more.
            for p in self._steps[len(self._steps) - pieces + 1 :]:
                p.request = len(self.requests)
                self.requests.append((m.kind, flags))
        self._remove_user(m)

    def _step(self, base: Chain | None, request: int) -> Step:
        """Make a step of an mbuf that stays, or of a new cluster, which is empty."""
        p: Step = Step.__new__(Step)
        p.index = len(self._steps)
        p.next = -1
        p.base = base
        p.request = request
        p.count = 0 if base is None else base.count
        p.frags = storage_of(base).frags() if base is not None and base.bits & M_EXT else 1
        p.parts = []
        self._steps.append(p)
        return p

    def _request(self, kind: int, flags: int) -> Step:
        """Make a step of a new cluster, which is requested with that type and those flags."""
        p = self._step(None, len(self.requests))
        self.requests.append((kind, flags))
        return p

    def _add_last(self, p: Step) -> None:
        """Link a step behind the last one."""
        if self._last >= 0:
            last: Step = self._steps[self._last]
            last.next = p.index
        else:
            self._first = p.index
        self._last = p.index
        self._count += p.frags

    def _add(self, p: Step, n: Step) -> None:
        """Append the bytes of another step, whose base is freed in the end."""
        if n.base is not None:
            p.parts.append((n.base, 0, n.base.count))
            self._remove_user(n.base)
        parts = p.parts
        parts.extend(n.parts)
        p.count += n.count

    def _remove_user(self, m: Chain) -> None:
        """Plan that an mbuf is freed: its storage will have one user fewer."""
        if m.bits & M_EXT:
            storage = storage_of(m)
            gone = self._removed_users.get(id(storage.counter()), 0) + 1
            self._removed_users[id(storage.counter())] = gone
            if storage.refcnt() - gone == 1:
                self._became_writable = True

    def _external(self, p: Step) -> bool:
        return p.base is None or bool(p.base.bits & M_EXT)

    def _writable(self, p: Step) -> bool:
        """True if the bytes could be written after what is planned so far. See M_WRITABLE."""
        m = p.base
        if m is None:
            return not self.requests[p.request][1] & M_RDONLY
        if m.bits & (M_RDONLY | M_EXTPG):
            return False
        if not m.bits & M_EXT:
            return True
        storage = storage_of(m)
        return storage.refcnt() - self._removed_users.get(id(storage.counter()), 0) == 1 and not storage.fixed

    def _space(self, p: Step) -> int:
        """Return the bytes that could be appended after what is planned so far. See M_TRAILINGSPACE."""
        if not self._writable(p):
            return 0
        m = p.base
        if m is None:
            return MCLBYTES - p.count
        return start(m) + capacity(m) - m.off - p.count

    # Execution.

    def execute(self, reserved: list[Any]) -> bool:
        """Make the new chain, of the clusters in `reserved`; false if the old one has changed, and nothing was done.

        The clusters belong to this call: those that don't become part of the chain are freed.
        """
        done = False
        try:
            appended: list[Any] = []
            chain: list[Any] = []
            for p in self._in_order():
                step: Step = p
                if step.base is None:
                    self._copy_parts(reserved[step.request], step)
                    chain.append(reserved[step.request])
                else:
                    if step.parts:
                        appended.append((step, contiguous(self._read_parts(step))))
                    chain.append(step.base)
            kept = set(map(id, chain))
            spare: list[Any] = []
            for m in [*self._mbufs, *reserved]:
                if id(m) not in kept:
                    spare.append(m)
            if self._unchanged(appended):
                done = True
                self._commit(appended, chain, spare)
        except IndexError:
            # The chain was changed while its bytes were copied: they are no longer where they were.
            if fingerprint(self._mbufs[0]) == self._fingerprint:
                raise
        finally:
            if not done:
                free_all(reserved)
            run_releases()
        return done

    def _in_order(self) -> list[Any]:
        """Return the steps of the new chain in order."""
        steps = []
        at = self._first
        while at >= 0:
            p: Step = self._steps[at]
            steps.append(p)
            at = p.next
        return steps

    def _unchanged(self, appended: list[Any]) -> bool:
        """True if the chain is as it was planned for, and the mbufs that are appended to may be written."""
        head: Chain = self._mbufs[0]
        check_alive(head)
        if fingerprint(head) != self._fingerprint:
            return False
        if self._must_own:
            for step in self._in_order():
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

    def _copy_parts(self, m: Chain, p: Step) -> None:
        """Copy the parts of a step into its new cluster."""
        for source, skip, count in p.parts:
            src: Chain = source
            target: Memory = m.buf
            target.copy(m.off + m.count, src.buf, src.off + skip, count)
            m.count += count

    def _read_parts(self, p: Step) -> bytes:
        """Return the bytes of the parts of a step."""
        pieces = []
        for source, skip, count in p.parts:
            src: Chain = source
            buf: Memory = src.buf
            pieces.append(buf.read(src.off + skip, count))
        return b"".join(pieces)

    def _commit(self, appended: list[Any], chain: list[Any], spare: list[Any]) -> None:
        """Write what is appended, link the new chain behind the old head, and free the other mbufs."""
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
        for old in self._mbufs:
            cut(old)
        head: Chain = self._mbufs[0]
        first: Chain = chain[0]
        if first is not head:
            # The caller's mbuf stays the head: it exchanges its contents with the first of the new chain.
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
    """Free mbufs that belong to the caller, each alone; the caller calls `run_releases`."""
    enter_commit()
    for thing in mbufs:
        m: Chain = thing
        if m.alive:
            cut(m)
            release(m)
    leave_commit()


def plan(head: Chain) -> Plan:
    """Return a new plan for a live chain."""
    made: Plan = Plan.__new__(Plan)
    made.init(head)
    return made
