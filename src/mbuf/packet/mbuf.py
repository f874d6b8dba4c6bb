"""The mbuf: what a user holds.

May ask its source for more mbufs, and replace its storage. Never names a zone or a limit.
A handle is made, or used again, here: none that somebody holds is ever handed out a second time.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.uma.item import Item
else:
    from mbuf.shadow import cython

from mbuf.const import (
    EXT_EXTREF,
    EXT_NET_DRV,
    EXT_RXRING,
    M_COPYFLAGS,
    M_EXT,
    M_EXTPG,
    M_FREED,
    M_NOFREE,
    M_PKTHDR,
    M_RDONLY,
    MHSIZE,
    MPKTHSIZE,
    MT_DATA,
)
from mbuf.errors import Inval
from mbuf.packet.cluster import Cluster
from mbuf.packet.ext import Storage
from mbuf.packet.external import External, RefCount, external, freeable
from mbuf.packet.extpg import Extpg
from mbuf.packet.flags import flag_names
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.routine import run
from mbuf.vm.loan import loan
from mbuf.vm.number import INT_MAX, clip

if cython.compiled:
    from cython.cimports.cpython.ref import Py_REFCNT

#: Defaults as objects: to find that an argument is the default takes no more than a look.
DRIVER: int = EXT_NET_DRV
NONE: int = 0


@cython.no_gc
@cython.cclass
class Mbuf(Extpg):
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
        if self.bits & M_FREED or self.item.home.probes.on:
            self.shed()
        else:
            self.undress()
        return n

    def freem(self) -> None:
        """Free the packet from here on: this mbuf and all linked by `next`. See m_freem."""
        if self.bits & M_FREED:
            self.live()
        if self.item.home.probes.on:
            self._freem_told()
            return
        m = self
        while m is not None and not m.bits & M_FREED:
            n = m._next
            m.undress()
            m = cython.cast(Mbuf, n)

    def _freem_told(self) -> None:
        """`freem`, and probes are told. All is freed, whatever they raise."""
        failure: BaseException | None = None
        try:
            self.item.home.probes.fire("m-freem", self)
        except BaseException as error:  # what ends a program; raised below, when all is free
            failure = error
        m = self
        while m is not None and not m.bits & M_FREED:
            n = m._next
            try:
                m.shed()
            except BaseException as error:  # as above
                failure = error
            m = cython.cast(Mbuf, n)
        if failure is not None:
            raise failure

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
        if self.bits & M_EXTPG:
            where = f"{self.count} bytes at {self.off} of {self.epg.npgs} loose pages"
        else:
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
        probes = self.item.home.probes
        if probes.on:
            probes.fire("m-cljset", self, cluster, storage.tell(self.item).type)
        return self

    def extadd(
        self,
        buffer: Any,
        free: Callable[[Any], object] | None = None,
        arg1: Any = None,
        arg2: Any = None,
        flags: int = NONE,
        type: int = DRIVER,
    ) -> Mbuf:
        """Hold data in somebody's memory from now on: any object with a buffer, in one piece. See m_extadd.

        The object is kept, and its buffer held in place, until the last mbuf that shares it lets go and
        nobody looks at the bytes; then `free(m)` is called once, with an mbuf whose `ext` still tells of it.
        What is for reading only sets M_RDONLY. `type` is EXT_NET_DRV, EXT_MOD_TYPE, EXT_DISPOSABLE,
        EXT_SFBUF, EXT_RXRING (without `free`) or EXT_EXTREF. What the mbuf held in itself is gone.
        """
        if free is not None and (type == EXT_RXRING or not callable(free)):
            raise Inval("extadd: free must be a function to call, or None; a receive ring has none")
        if type is DRIVER and flags is NONE:
            storage = cython.cast(External, self._adopt(buffer, EXT_NET_DRV, None, 0))
        else:
            storage = cython.cast(External, self._adopt(buffer, clip(type), None, clip(flags)))
        if free is not None or arg1 is not None or arg2 is not None:
            storage.tell_owner(free, arg1, arg2, show)
        return self

    def extaddref(
        self,
        buffer: Any,
        refs: RefCount,
        free: Callable[[Any], object] | None = None,
        arg1: Any = None,
        arg2: Any = None,
    ) -> Mbuf:
        """`extadd` of memory whose uses `refs` counts, in as many mbufs as you like. See m_extaddref.

        When the last of them all lets go, the routine that was given with it is called.
        """
        if not isinstance(refs, RefCount):
            raise Inval("extaddref: give the RefCount that counts the uses of this memory")
        if free is not None and not callable(free):
            raise Inval("extaddref: free must be a function to call, or None")
        storage: External = self._adopt(buffer, EXT_EXTREF, refs, 0)
        storage.tell_owner(free, arg1, arg2, show)
        return self

    def _adopt(self, buffer: Any, type: int, refs: RefCount | None, flags: int) -> External:
        self.live()
        if self.bits & M_EXT:
            raise Inval("extadd: this mbuf has external storage already")
        if not freeable(type):
            raise Inval(f"extadd: type {type}: give EXT_NET_DRV or another whose storage can be freed again")
        if self.bits & M_NOFREE and type != EXT_RXRING and type != EXT_EXTREF:
            raise Inval("extadd: an mbuf with M_NOFREE takes EXT_RXRING or EXT_EXTREF")
        if flags & M_PKTHDR or flags | M_COPYFLAGS != M_COPYFLAGS:
            raise Inval(f"extadd: flags {flags:#x}: give M_RDONLY and others of M_COPYFLAGS, but M_PKTHDR")
        if type == EXT_EXTREF and refs is None:
            refs = RefCount()
        memory = loan(buffer)
        if not self.count <= memory.size <= INT_MAX:
            raise Inval(f"extadd: memory of {memory.size} bytes: this mbuf takes {self.count} to {INT_MAX}")
        storage: External = external(memory, type, refs)
        self.attach(storage)
        self.bits |= flags
        if storage.fixed:
            self.bits |= M_RDONLY
        return storage

    def detach(self) -> Any:
        """Give somebody's memory back to the caller, who gets the object; no routine is called.

        The mbuf holds no bytes then. Raises `Busy` while another mbuf shares the memory or somebody looks
        at it.
        """
        item = self.live()
        if not self.bits & M_EXT or not isinstance(self.buf, External):
            raise Inval("detach: the bytes are not in memory that was added with extadd")
        storage = cython.cast(External, self.buf)
        obj = storage.detach(item)
        self.bits &= ~(M_EXT | M_RDONLY)
        self.buf = item
        self.off = self.start()
        if self.bits & M_PKTHDR:
            self.hdr.len = max(self.hdr.len - self.count, 0)
        self.count = 0
        # Last of all: tags may have routines, which may do anything with this mbuf.
        storage.untag()
        return obj


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


def show(item: Item, storage: Storage, free: Callable[[Any], object]) -> None:
    """Call a free routine with an mbuf to look at, which stands for the one that the storage belonged to."""
    m: Mbuf = Mbuf.__new__(Mbuf)
    m._next = m._nextpkt = None
    m.hdr = cython.cast(PktHdr, None)
    m.reset(item, storage, 0, MT_DATA, M_EXT if storage.in_row() else M_EXT | M_EXTPG | M_RDONLY)
    run(free, m)
    if not m.bits & M_FREED:
        m.undress()


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
