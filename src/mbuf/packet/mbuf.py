"""The mbuf: what a user holds.

May ask its source for more mbufs, and replace its storage. Never names a zone or a limit.
A handle is made, or used again, here: none that somebody holds is ever handed out a second time.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.source import Source
    from mbuf.uma.item import Item
else:
    from mbuf.shadow import cython

from mbuf.const import M_COPYFLAGS, M_EXT, M_FREED, M_NOWAIT, M_PKTHDR, M_RDONLY, MHSIZE, MPKTHSIZE
from mbuf.errors import Inval
from mbuf.packet.cluster import Cluster
from mbuf.packet.content import Content
from mbuf.packet.ext import Storage
from mbuf.packet.flags import flag_names
from mbuf.packet.pkthdr import PktHdr

if cython.compiled:
    from cython.cimports.cpython.ref import Py_REFCNT


@cython.no_gc
@cython.cclass
class Mbuf(Content):
    """A network buffer: some bytes of a packet, linked to the next of them.

    Get one from a `Pool`; let it go with `free` (this mbuf) or `freem` (the packet from here on), or just
    drop it. Freed, it raises `Freed` whatever is asked of it. The kernel's names (`m.len`, `m.next`) speak of
    this mbuf, Python's protocols (`len(m)`, `bytes(m)`, `iter(m)`) of the packet from here on.
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.bits = M_FREED
        raise TypeError("an mbuf comes from a pool: pool.getcl(), pool.get(), ...")

    def free(self) -> Mbuf | None:
        """Free this mbuf alone; returns the next one, which is then the caller's. See m_free."""
        n: Mbuf | None = cython.cast(Mbuf, self._next)
        self.shed()
        return n

    def freem(self) -> None:
        """Free the packet from here on: this mbuf and all linked by `next`. See m_freem."""
        if self.bits & M_FREED:
            self.live()
        m = self
        while m is not None and not m.bits & M_FREED:
            n = m._next
            m.shed()
            m = cython.cast(Mbuf, n)

    def __enter__(self) -> Mbuf:
        self.live()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the packet, if that wasn't done inside."""
        if not self.bits & M_FREED:
            self.freem()

    def __del__(self) -> None:
        if not self.bits & M_FREED:
            _drop(self)

    def __reduce__(self) -> Any:
        raise TypeError("an mbuf can't be pickled or copied: it is memory of its pool; use bytes(m) or m.copypacket()")

    def __repr__(self) -> str:
        if self.bits & M_FREED:
            return f"<Mbuf {id(self):#x} freed>"
        where = f"{self.count} of {self.capacity()} bytes at {self.off - self.start()}"
        head = f", packet of {self.hdr.len}" if self.bits & M_PKTHDR else ""
        return f"<Mbuf {id(self):#x} {flag_names(self.bits)} {where}{head}>"

    def cljset(self, cluster: Cluster) -> Mbuf:
        """Hold data in a raw cluster from now on, which is taken over. See m_cljset."""
        self.live()
        if self.bits & M_EXT:
            raise Inval("cljset: this mbuf has external storage already")
        if cluster is None:
            raise Inval("cljset: give a cluster, from pool.cljget(None, ...)")
        storage = cluster.take()
        storage.own()
        self.attach(storage)
        return self

    def origin(self) -> Source:
        """Whom to ask for more mbufs."""
        source: Source | None = self.item.home.source
        if source is None:
            raise Inval("the pool that this mbuf came from is closed")
        return source

    def append(self, data: Any) -> Mbuf:
        """Copy bytes to the end of the packet, adding mbufs for what doesn't fit. See m_append.

        Raises `NoBufs`, and then nothing was appended.
        """
        self.live()
        last = cython.cast(Mbuf, self.tail())
        space = last.space()
        count = last.buf.fit(last.off + last.count, space, data)
        if count > space:
            last._next = self._more(data, space, count)
            last.buf.write(last.off + last.count, data, 0, space)
            last.count += space
        else:
            last.count += count
        if self.bits & M_PKTHDR:
            self.hdr.len += count
        return self

    def _more(self, data: Any, at: int, count: int) -> Mbuf:
        """A chain of plain mbufs that holds data from `at` on."""
        source = self.origin()
        first: Mbuf = source.get(M_NOWAIT, self.kind)
        last = first
        try:
            while True:
                last.count = min(last.space(), count - at)
                last.buf.write(last.off, data, at, last.count)
                at += last.count
                if at == count:
                    return first
                m: Mbuf = source.get(M_NOWAIT, self.kind)
                last._next = m
                last = m
        except BaseException:
            first.freem()
            raise

    def copypacket(self, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """A new packet of the same bytes: clusters are shared, bytes in mbufs copied. See m_copypacket.

        Shared clusters are read-only for both from then on. Raises `NoBufs`, and then nothing has changed.
        """
        self.live()
        if not self.bits & M_PKTHDR:
            raise Inval("copypacket: this mbuf has no packet header, so it doesn't begin a packet")
        source = self.origin()
        top: Mbuf = source.gethdr(how, self.kind, timeout)
        try:
            top.hdr.copy(self.hdr)
            top.bits = self.bits & M_COPYFLAGS
            _copy_data(self, top, self.off)
            last: Mbuf = top
            m = cython.cast(Mbuf, self.follow())
            while m is not None:
                n: Mbuf = source.get(how, m.kind, timeout)
                last._next = n
                last = n
                _copy_data(m, n, n.off)
                m = cython.cast(Mbuf, m.follow())
        except BaseException:
            top.freem()
            raise
        return top


def _copy_data(m: Mbuf, n: Mbuf, off: int) -> None:
    """Give n the data of m: by sharing where m has storage (see mb_dupcl), else by copying it to `off`."""
    n.count = m.count
    if m.bits & M_EXT:
        n.attach(m.store())
        m.store().share(m.item)
        n.bits |= m.bits & M_RDONLY
        n.off = m.off
    else:
        n.off = off
        n.buf.copy(off, m.buf, m.off, m.count)


def handle(item: Item, kind: int, bits: int) -> Mbuf:
    """The handle of an item of the mbuf zone. See mb_ctor_mbuf."""
    m = _handle(item)
    m.reset(item, item, MPKTHSIZE if bits & M_PKTHDR else MHSIZE, kind, bits)
    if bits & M_PKTHDR:
        m.begin()
    return m


def packet(item: Item, kind: int, bits: int) -> Mbuf:
    """The handle of an item of the packet zone, with the cluster that it is paired with. See mb_ctor_pack."""
    m = _handle(item)
    storage = cython.cast(Storage, item.mate)
    m.reset(item, storage, 0, kind, bits | M_EXT)
    if bits & M_PKTHDR:
        m.begin()
    return m


def _handle(item: Item) -> Mbuf:
    """The item's last handle if nobody else holds that, else a new one."""
    # The second reference is the compiler's own, for the time of the call.
    if cython.compiled and Py_REFCNT(item.handle) == 2:
        m = cython.cast(Mbuf, item.handle)
    else:
        m = Mbuf.__new__(Mbuf)
        m.bits = M_FREED
        m._next = m._nextpkt = None
        m.hdr = cython.cast(PktHdr, None)
    item.handle = None
    fresh: Mbuf = m
    return fresh


def _drop(m: Mbuf) -> None:
    """Free an mbuf that nobody holds any more, and all that it held, as freem would; no deep recursion."""
    todo: list[Any] = [m]
    failure: BaseException | None = None
    while todo:
        m = todo.pop()
        if m.bits & M_FREED:
            continue
        todo += m.links()
        item: Item = m.item
        try:
            if item.home.source is not None:
                item.home.source.dropped(item)
        except BaseException as error:  # a warning made an error; raised below, when all is free
            failure = error
        m.shed()
        # The handle dies: finalized once, it must not serve again.
        item.handle = None
    if failure is not None:
        raise failure
