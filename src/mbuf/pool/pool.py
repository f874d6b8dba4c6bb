"""`Pool`: every method of a pool of network buffers, on one page.

A method converts its arguments, which may run user code, and calls a function of the module on its topic:
`allocator`, `bulk`, `build`, `extpg`, `aio`. What a pool is made of is a `Subsystem`. There is no default pool.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import index
from sys import is_finalizing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mbuf.const import (
    M_EXTPG,
    M_NOFREE,
    M_NOWAIT,
    M_PKTHDR,
    M_WAITOK,
    MCLBYTES,
    MHLEN,
    MJUMPAGESIZE,
    MT_DATA,
    MTAG_ABI_COMPAT,
)
from mbuf.errors import Inval, TunableWarning
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.source import until
from mbuf.pool import aio, allocator, build, bulk, chain, extpg
from mbuf.pool.allocator import Allocator, fire
from mbuf.pool.audit import PoolAudit, audit
from mbuf.pool.file import File
from mbuf.pool.limits import Limits, Memory
from mbuf.pool.lowmem import MemoryWatch
from mbuf.pool.subsystem import Subsystem
from mbuf.pool.sysctl import Sysctl
from mbuf.pool.tunable_checks import Given, remarks
from mbuf.pool.validate import at_least, validate
from mbuf.vm.ints import clip
from mbuf.vm.loan import loan
from mbuf.vm.page import compiled
from mbuf.vm.pagefile import opened
from mbuf.vm.sfbuf import NSFBUFS
from mbuf.vm.vm import Vm, host_memory

if TYPE_CHECKING:
    import cython

    from mbuf.packet.cluster import Cluster
    from mbuf.packet.sndtag import SndTag, SndTags
    from mbuf.packet.tag import Tag, TagZone
    from mbuf.pool.drains import Drains
    from mbuf.pool.probes import MbufProbes
    from mbuf.pool.reclaim import Reclaim
    from mbuf.pool.reserve import Reserve
    from mbuf.pool.stat import PoolStat
    from mbuf.pool.zones import Zones
    from mbuf.uma.cpu import Cpus
    from mbuf.uma.limit import Warnings
    from mbuf.uma.pages import Pages
    from mbuf.vm.event import Event
    from mbuf.vm.sfbuf import SfBufs
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.pool.allocator import ready
    from mbuf.vm.commit import check_latch, settle

#: The defaults as objects: to find that an argument is the default takes no more than a look.
NOWAIT: int = M_NOWAIT
DATA: int = MT_DATA
PKTHDR: int = M_PKTHDR


@cython.cclass
class Pool:
    """Network buffers, as many as its limits allow, and no more.

    `Pool()` has the memory of this machine (or of its control group) and the kernel's default limits. `vm` sets the
    memory: a `Vm`, or a number of bytes. `tunables` sets any of kern.ipc.nmbclusters, nmbufs, ..., vm.kmem_size and
    hw.physmem (numbers, or texts as in loader.conf): those that contradict each other are refused, and odd ones
    warned of, but with `strict=False` they do what they do to the kernel. `ncpu` is the number of caches. `debug`
    checks for writes to freed memory and remembers who asked for what; `caching=False` keeps nothing in caches, as
    the kernel when it is short of pages. With `worker=False` drains run only when `reclaim.run()` is called.
    `max_linkhdr` and `max_protohdr` are the bytes of the largest headers that packets get, 0 to 168, for which verbs
    leave room and gather bytes; `nsfbufs` is how many pages of files may be mapped at once.

    The methods that allocate have some arguments in common. `how` is M_NOWAIT (raise `NoBufs` when a limit is
    reached, `NoMemory` when pages are out) or M_WAITOK (wait, for at most `timeout` seconds, then raise the same);
    `type` is an MT_ number; `flags` are those of M_COPYFLAGS. An argument that can't be right raises `Inval`, and
    what fails has taken nothing. The mbuf is the caller's.

    Close it with `close`, or use it in a `with` statement; one that is dropped closes by itself. Mbufs that are out
    stay what they are. Any thread may use it. It may be subclassed; before its `__init__` has run, every method
    raises `Inval`.
    """

    __slots__ = ("_allocator", "_parts", "_sysctl")

    def __init__(
        self,
        vm: Vm | int | None = None,
        tunables: Mapping[str, int | str] = MappingProxyType({}),
        ncpu: int = 1,
        debug: bool = False,
        caching: bool = True,
        worker: bool = True,
        max_linkhdr: int = 16,
        max_protohdr: int = 60,
        nsfbufs: int = NSFBUFS,
        strict: bool = True,
    ) -> None:
        check_latch()
        given = {name: value if isinstance(value, str | Given) else index(value) for name, value in tunables.items()}
        cpus, windows = clip(ncpu), clip(nsfbufs)
        headers = _header("max_linkhdr", clip(max_linkhdr)), _header("max_protohdr", clip(max_protohdr))
        size = _bytes(vm)
        memory = Memory.plan(size, given)
        limits = Limits.plan(size, given)
        for said in remarks(given, size, limits) if strict else ():
            warnings.warn(said, TunableWarning, stacklevel=1 if compiled() else 2)
        budget = vm if isinstance(vm, Vm) else Vm(memory.physmem)
        parts = Subsystem(
            budget, memory, limits, given, cpus, bool(debug), bool(caching), bool(worker), *headers, windows
        )
        made: Any = self._parts  # type: ignore[has-type]
        if made is not None:
            parts.close()
            raise Inval("this pool was made already: make another one")
        self._parts = parts
        self._sysctl = Sysctl(parts)
        self._allocator = parts.allocator

    # One mbuf.

    def get(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """An mbuf that holds up to 224 bytes in itself. See m_get."""
        check_latch()
        if how is NOWAIT and type is DATA:
            return allocator.get(self._allocator, M_NOWAIT, MT_DATA, 0, None)
        wait, kind = clip(how), clip(type)
        validate(wait, kind, 0)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return allocator.get(self._allocator, wait, kind, 0, deadline)
        finally:
            settle()

    def gethdr(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """An mbuf with a packet header, and room for 168 bytes in itself. See m_gethdr."""
        check_latch()
        if how is NOWAIT and type is DATA:
            return allocator.get(self._allocator, M_NOWAIT, MT_DATA, M_PKTHDR, None)
        wait, kind = clip(how), clip(type)
        validate(wait, kind, 0)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return allocator.get(self._allocator, wait, kind, M_PKTHDR, deadline)
        finally:
            settle()

    def getcl(
        self, how: int = M_NOWAIT, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None
    ) -> Mbuf:
        """An mbuf with a cluster of 2048 bytes, by default the first of a packet. See m_getcl."""
        check_latch()
        if how is NOWAIT and type is DATA and flags is PKTHDR:
            return allocator.getcl(self._allocator, M_NOWAIT, MT_DATA, M_PKTHDR, None)
        wait, kind, bits = clip(how), clip(type), clip(flags)
        validate(wait, kind, bits)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return allocator.getcl(self._allocator, wait, kind, bits, deadline)
        finally:
            settle()

    def getjcl(
        self,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        size: int = MJUMPAGESIZE,
        timeout: float | None = None,
    ) -> Mbuf:
        """An mbuf with a cluster of 2048, 4096, 9216 or 16384 bytes. See m_getjcl.

        One of 9216 or 16384 bytes takes pages in a row, which may be out while single pages are free (`NoMemory`).
        """
        check_latch()
        wait, kind, bits, count = clip(how), clip(type), clip(flags), clip(size)
        validate(wait, kind, bits)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return allocator.getjcl(self._allocator, wait, kind, bits, count, deadline)
        finally:
            settle()

    def get2(
        self,
        size: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        timeout: float | None = None,
    ) -> Mbuf:
        """The smallest mbuf, with or without a cluster, that holds `size` bytes, at most 4096. See m_get2.

        A size of 0, or less, gives an mbuf without a cluster, as in the kernel.
        """
        check_latch()
        count, wait, kind, bits = clip(size), clip(how), clip(type), clip(flags)
        validate(wait, kind, bits)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return allocator.get2(self._allocator, count, wait, kind, bits, deadline)
        finally:
            settle()

    # Chains.

    def getm2(
        self,
        len: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        m: Mbuf | None = None,
        timeout: float | None = None,
    ) -> Mbuf:
        """A chain that holds `len` bytes, of mbufs as large as fit; appended to `m` if that is given.

        Returns the head. Of the flags, M_PKTHDR (for a new chain) and M_EOR (moved to the new tail) count. If `m` is
        freed while this waits, it raises `Freed`, and the new mbufs go back. See m_getm2.
        """
        check_latch()
        count, wait, kind, bits = clip(len), clip(how), clip(type), clip(flags)
        validate(wait, kind, bits)
        deadline = None if timeout is None else until(wait, timeout)
        if m is not None:
            _mbuf("getm2", m)
        try:
            return chain.getm2(self._allocator, m, count, wait, kind, bits, deadline)
        finally:
            settle()

    def get_row(self, n: int, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """A chain of `n` mbufs, 1 or more, as `get` gives them: all of them, or an exception and none."""
        check_latch()
        count, wait, kind = clip(n), clip(how), clip(type)
        validate(wait, kind, 0)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return allocator.row(self._allocator, count, wait, kind, deadline)
        finally:
            settle()

    def freem(self, m: Mbuf | None) -> None:
        """Free a packet, or nothing if there is None. See m_freem."""
        check_latch()
        ready(self._allocator)
        try:
            if m is not None:
                _mbuf("freem", m)
                m.freem()
            elif self._allocator.probes.on:
                fire(self._allocator, "m-freem", None, None)
        finally:
            settle()

    # Clusters.

    def clget(self, m: Mbuf, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """Attach a cluster of 2048 bytes to an mbuf without one; what the mbuf held is gone. See m_clget.

        At the limit, clusters of packets that the zone has listed are set free for a second try; in a pool with
        several CPUs, those in their caches too. Returns `m`. If `m` was freed, or given storage, while this waited,
        it raises `Freed` or `Inval`, and the cluster goes back.
        """
        check_latch()
        wait = clip(how)
        validate(wait, MT_DATA, 0)
        deadline = None if timeout is None else until(wait, timeout)
        _mbuf("clget", m)
        try:
            return allocator.clget(self._allocator, m, wait, deadline)
        finally:
            settle()

    def cljget(
        self, m: Mbuf | None, how: int = M_NOWAIT, size: int = MJUMPAGESIZE, timeout: float | None = None
    ) -> Mbuf | Cluster:
        """Attach a cluster of 2048, 4096, 9216 or 16384 bytes to an mbuf without one; returns `m`.

        Without an mbuf, returns the cluster itself, which is then the caller's. If `m` was freed, or given storage,
        while this waited, it raises `Freed` or `Inval`, and the cluster goes back. See m_cljget.
        """
        check_latch()
        wait, count = clip(how), clip(size)
        validate(wait, MT_DATA, 0)
        deadline = None if timeout is None else until(wait, timeout)
        if m is not None:
            _mbuf("cljget", m)
        try:
            got: Mbuf | Cluster = allocator.cljget(self._allocator, m, count, wait, deadline)
            return got
        finally:
            settle()

    # Many at once.

    def getcl_bulk(
        self,
        n: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        timeout: float | None = None,
    ) -> list[Mbuf]:
        """`n` times `getcl` in one call: all of them, or an exception and none."""
        check_latch()
        count, wait, kind, bits = clip(n), clip(how), clip(type), clip(flags)
        validate(wait, kind, bits)
        at_least(0, count, "getcl_bulk")
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return bulk.getjcl_bulk(self._allocator, count, wait, kind, bits, MCLBYTES, deadline)
        finally:
            settle()

    def getjcl_bulk(
        self,
        n: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        size: int = MJUMPAGESIZE,
        timeout: float | None = None,
    ) -> list[Mbuf]:
        """`n` times `getjcl` in one call: all of them, or an exception and none."""
        check_latch()
        count, wait, kind, bits, each = clip(n), clip(how), clip(type), clip(flags), clip(size)
        validate(wait, kind, bits)
        at_least(0, count, "getjcl_bulk")
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return bulk.getjcl_bulk(self._allocator, count, wait, kind, bits, each, deadline)
        finally:
            settle()

    def free_bulk(self, packets: list[Mbuf]) -> None:
        """Free every packet of a list, which is taken over, and empty afterwards.

        A list that has something else in it, a packet that was freed, or one twice, raises `Inval` or `Freed`, and
        nothing has happened then. What a free routine puts into the list meanwhile stays there. If a routine frees a
        packet of the list itself, all others are freed, and then `Freed` is raised.
        """
        check_latch()
        ready(self._allocator)
        _list(packets)
        try:
            bulk.free_bulk(packets)
        finally:
            settle()

    # Unmapped pages, and mbufs of no zone.

    def alloc_ext_pgs(
        self,
        how: int = M_NOWAIT,
        free: Callable[[Mbuf], object] | None = None,
        arg1: Any = None,
        timeout: float | None = None,
    ) -> Mbuf:
        """An mbuf of unmapped pages that has none yet: see `m.addpages` and `m.epg`. See mb_alloc_ext_pgs.

        When the last mbuf that shares them lets go, `free(m)` is called once, with an mbuf whose `epg`, and `ext`
        with `arg1`, still tell of them; then the pages are freed.
        """
        check_latch()
        wait = clip(how)
        validate(wait, MT_DATA, 0)
        deadline = None if timeout is None else until(wait, timeout)
        ready(self._allocator)
        try:
            return extpg.alloc_ext_pgs(self._allocator, self._allocator.pages, wait, free, arg1, deadline)
        finally:
            settle()

    def alloc_ext_plus_pages(self, len: int, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """An mbuf of unmapped pages in memory, as many as hold `len` bytes, at most 20480; it has no bytes yet.

        Raises `NoMemory` when pages are out. Write to the pages with `m.page`. See mb_alloc_ext_plus_pages.
        """
        check_latch()
        size, wait = clip(len), clip(how)
        validate(wait, MT_DATA, 0)
        deadline = None if timeout is None else until(wait, timeout)
        ready(self._allocator)
        try:
            return extpg.alloc_ext_plus_pages(self._allocator, self._allocator.pages, size, wait, deadline)
        finally:
            settle()

    def init(self, how: int = M_NOWAIT, type: int = MT_DATA, flags: int = 0) -> Mbuf:
        """An mbuf that lives in no zone, with M_NOFREE: it counts against no limit. See m_init.

        Give it storage with `extaddref`, or `extadd` of a receive ring (EXT_RXRING).
        """
        check_latch()
        wait, kind, bits = clip(how), clip(type), clip(flags)
        validate(wait, kind, bits ^ M_NOFREE if bits & M_NOFREE else bits)
        try:
            return build.init(self._allocator, wait, kind, bits)
        finally:
            settle()

    # Mbufs with something in them.

    def frombytes(
        self,
        data: Any,
        how: int = M_NOWAIT,
        align: int = 0,
        flags: int = M_PKTHDR,
        timeout: float | None = None,
    ) -> Mbuf:
        """A chain that holds a copy of data's bytes, of mbufs as large as fit. See m_uiotombuf.

        `align` bytes of room, fewer than 168, come before them. Data may be empty. With M_EXTPG, and without
        M_PKTHDR, the bytes are in unmapped pages, `align` at most in each mbuf, or as many as fit if that is 0.
        """
        check_latch()
        wait, room, bits = clip(how), clip(align), clip(flags)
        validate(wait, MT_DATA, 0 if bits & M_EXTPG else bits)
        deadline = None if timeout is None else until(wait, timeout)
        lent = loan(data)
        try:
            return build.frombytes(self._allocator, lent, wait, room, bits, deadline)
        finally:
            lent.release()
            settle()

    def devget(
        self,
        data: Any,
        off: int = 0,
        rcvif: Any = None,
        copy: Callable[[memoryview, memoryview], object] | None = None,
    ) -> Mbuf:
        """A packet that holds a copy of data's bytes, as a card's driver makes it. See m_devget.

        `off` bytes of room, at most 168, come before them, and the room of a link layer header if all fits
        into one mbuf then. `copy(source, target)` copies each piece, if it is given, once all mbufs are there; what
        it raises is raised here, and the packet is freed.
        """
        check_latch()
        room = clip(off)
        if copy is not None and not callable(copy):
            raise TypeError("devget: copy must be a function to call, or None")
        lent = loan(data)
        view = None if copy is None else memoryview(data).cast("B")
        try:
            return build.devget(self._allocator, lent, room, rcvif, copy, view)
        finally:
            lent.release()
            settle()

    def wrap(self, obj: Any, on_free: Callable[[Any], object] | None = None) -> Mbuf:
        """A packet whose bytes are those of any object with a buffer; nothing is copied.

        `on_free(obj)` is called once, when the last packet that shares them has let go and nobody looks at
        them. `m.detach()` gives the object back before that.
        """
        check_latch()
        if on_free is not None and not callable(on_free):
            raise Inval("wrap: on_free must be a function to call, or None")
        try:
            return build.wrap(self._allocator, obj, on_free)
        finally:
            settle()

    def file(self, file: Any) -> File:
        """A regular file, by its path or a descriptor, whose pages packets can hold: see `File`.

        A descriptor stays the caller's.
        """
        check_latch()
        ready(self._allocator)
        return File(self._allocator, opened(file, self._allocator.sfbufs))

    # What packets carry along.

    def tag_alloc(self, cookie: int, type: int, value: Any = None, how: int = M_NOWAIT) -> Tag:
        """A tag to put on a packet with `m.tag_prepend`; the caller's until then. See m_tag_alloc."""
        check_latch()
        ready(self._allocator)
        tag: Tag = self._allocator.tags.alloc(cookie, type, value, how)
        return tag

    def tag_get(self, type: int, value: Any = None, how: int = M_NOWAIT) -> Tag:
        """`tag_alloc` with cookie MTAG_ABI_COMPAT. See m_tag_get."""
        check_latch()
        ready(self._allocator)
        tag: Tag = self._allocator.tags.alloc(MTAG_ABI_COMPAT, type, value, how)
        return tag

    def snd_tag_alloc(self, ifp: Any, params: Any = None) -> SndTag:
        """Ask an interface for a send tag; the reference is the caller's. See m_snd_tag_alloc.

        Raises `NotSupported` if the interface has none to give, and whatever it raises itself.
        """
        check_latch()
        tag: SndTag = _made(self._parts).snd_tags.alloc(ifp, params)
        return tag

    # In asyncio. With a `timeout`, in seconds, these raise like those that don't wait.

    async def aget(self, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """`get`, in asyncio: waits until there is one."""
        check_latch()
        ready(self._allocator)
        kind = clip(type)
        deadline = until(M_WAITOK, timeout)
        try:
            return await aio.aget(self._allocator, kind, 0, deadline)
        finally:
            settle()

    async def agethdr(self, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """`gethdr`, in asyncio: waits until there is one."""
        check_latch()
        ready(self._allocator)
        kind = clip(type)
        deadline = until(M_WAITOK, timeout)
        try:
            return await aio.aget(self._allocator, kind, M_PKTHDR, deadline)
        finally:
            settle()

    async def agetcl(self, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None) -> Mbuf:
        """`getcl`, in asyncio: waits until there is one."""
        check_latch()
        ready(self._allocator)
        kind, bits = clip(type), clip(flags)
        deadline = until(M_WAITOK, timeout)
        try:
            return await aio.agetcl(self._allocator, kind, bits, deadline)
        finally:
            settle()

    async def agetjcl(
        self, type: int = MT_DATA, flags: int = M_PKTHDR, size: int = MJUMPAGESIZE, timeout: float | None = None
    ) -> Mbuf:
        """`getjcl`, in asyncio: waits until there is an mbuf, and then until there is a cluster for it."""
        check_latch()
        ready(self._allocator)
        kind, bits, count = clip(type), clip(flags), clip(size)
        deadline = until(M_WAITOK, timeout)
        try:
            return await aio.agetjcl(self._allocator, kind, bits, count, deadline)
        finally:
            settle()

    async def agetm2(self, len: int, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None) -> Mbuf:
        """`getm2` of a new chain, in asyncio: waits for one mbuf after the other, and holds those that it has."""
        check_latch()
        ready(self._allocator)
        count, kind, bits = clip(len), clip(type), clip(flags)
        deadline = until(M_WAITOK, timeout)
        try:
            return await aio.agetm2(self._allocator, count, kind, bits, deadline)
        finally:
            settle()

    # The pool as a whole.

    def watch_memory(self) -> MemoryWatch:
        """Within it, drains run and caches are trimmed when Linux says that memory is short.

        In a `with` statement from a thread of its own, in an `async with` by the event loop.
        """
        check_latch()
        return MemoryWatch(_made(self._parts).vm)

    @contextmanager
    def cpu(self, number: int) -> Iterator[None]:
        """Within it, the calling thread uses the caches of CPU `number`."""
        check_latch()
        cpus = _made(self._parts).cpus
        before = cpus.move(clip(number))
        try:
            yield
        finally:
            cpus.move(before)

    def drain(self) -> None:
        """Give all free items back to the operating system, those in the caches of all CPUs too."""
        check_latch()
        try:
            _made(self._parts).reclaim.drain()
        finally:
            settle()

    def stat(self) -> PoolStat:
        """All numbers of all zones, for printers and reports."""
        check_latch()
        return _made(self._parts).stat()

    def audit(self, cycles: bool = False) -> PoolAudit:
        """Compare all that the pool knows of its memory; raises `Corrupt`, naming the first contradiction.

        Call it while no other call of the pool is under way, but for those that wait. Returns where everything is: see
        `PoolAudit` and `ZoneAudit`. With `cycles`, the mbufs of all pools to which an object of the program refers are
        looked at, and those named that hold themselves through a tag's value, an interface or lent memory: nobody
        collects those. That takes a while.
        """
        check_latch()
        return audit(self, bool(cycles))

    def sites(self) -> Counter[str]:
        """Where the mbufs that are out were asked for, and how many there; known in a debug pool only."""
        check_latch()
        return _made(self._parts).sites()

    def close(self) -> int:
        """Hand out no more, and give all free memory back; returns how many mbufs are still out.

        Those stay what they are until they are freed. If there are any, a `ResourceWarning` says so.
        """
        check_latch()
        parts = _made(self._parts)
        try:
            first = parts.close()
        finally:
            settle()
        if first and parts.out:
            places = "".join(f"\n  {count} from {site}" for site, count in parts.sites().most_common(10))
            warnings.warn(f"pool closed with {parts.out} mbufs still out{places}", ResourceWarning, stacklevel=2)
        return parts.out

    def __enter__(self) -> Pool:
        _made(self._parts)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Items that are cached refer to their zone, and it to them.
        # One that was never whole has nothing to close, and the end of the program closes all.
        parts = getattr(self, "_parts", None) if not cython.compiled else self._parts
        if parts is not None and parts.alive and is_finalizing is not None and not is_finalizing():
            self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a pool can't be pickled or copied: it is memory of this process")

    # What it is made of, to be read.

    @property
    def zones(self) -> Zones:
        """The zones in force: `mbuf`, `pack`, `clust`, `jumbop`, `jumbo9`, `jumbo16`."""
        ready(self._allocator)
        return self._allocator.zones

    @property
    def own(self) -> Zones:
        """The pool's own zones, also while those of the reserve are in force."""
        return _made(self._parts).own

    @property
    def vm(self) -> Vm:
        """The budget of pages."""
        return _made(self._parts).vm

    @property
    def limits(self) -> Limits:
        """The limits planned when the pool was made; those in force are the zones'."""
        return _made(self._parts).limits

    @property
    def cpus(self) -> Cpus:
        """Which CPU a thread stands for."""
        return _made(self._parts).cpus

    @property
    def debug(self) -> bool:
        """True if freed memory is checked for writes, and who asked for what is remembered."""
        return _made(self._parts).debug

    @property
    def out(self) -> int:
        """Mbufs handed out, with or without cluster."""
        return _made(self._parts).out

    @property
    def closed(self) -> bool:
        """True when nothing is handed out any more."""
        return not _made(self._parts).alive

    @property
    def max_linkhdr(self) -> int:
        """Bytes of the largest link layer header."""
        ready(self._allocator)
        return self._allocator.max_linkhdr

    @property
    def max_protohdr(self) -> int:
        """Bytes of the largest protocol headers, of network and transport together."""
        ready(self._allocator)
        return self._allocator.max_protohdr

    @property
    def pages(self) -> Pages:
        """The supply of single pages, for mbufs of unmapped pages."""
        ready(self._allocator)
        return self._allocator.pages

    @property
    def sfbufs(self) -> SfBufs:
        """Windows onto pages of files."""
        ready(self._allocator)
        windows: SfBufs = self._allocator.sfbufs
        return windows

    @property
    def tags(self) -> TagZone:
        """The memory of packet tags."""
        ready(self._allocator)
        tags: TagZone = self._allocator.tags
        return tags

    @property
    def snd_tags(self) -> SndTags:
        """The count of send tags."""
        return _made(self._parts).snd_tags

    @property
    def probes(self) -> MbufProbes:
        """Who is told what is allocated and freed: `pool.probes.attach(name, fn)`."""
        ready(self._allocator)
        probes: Any = self._allocator.probes
        listening: MbufProbes = probes
        return listening

    @property
    def reserve(self) -> Reserve:
        """Mbufs and clusters laid by for bad times. See debugnet_mbuf_reinit."""
        return _made(self._parts).reserve

    @property
    def sysctl(self) -> Sysctl:
        """Limits and numbers by the kernel's names: `pool.sysctl["kern.ipc.nmbclusters"]`."""
        _made(self._parts)
        tree: Sysctl = self._sysctl
        return tree

    @property
    def reclaim(self) -> Reclaim:
        """What is done when memory runs out. See mb_reclaim."""
        return _made(self._parts).reclaim

    @property
    def drains(self) -> Drains:
        """What is called when a limit is hit or memory is low: `pool.drains.register(fn, name)`. See pr_drain."""
        return _made(self._parts).reclaim.drains

    @property
    def changes(self) -> Mapping[str, Event]:
        """By the name of a limit, the event invoked after a sysctl has raised it. See nmbclusters_change."""
        return _made(self._parts).changes

    @property
    def warnings(self) -> Warnings:
        """Whether and how often zones at their limit are logged."""
        return _made(self._parts).warnings

    @property
    def mb_use_ext_pgs(self) -> bool:
        """A switch for those who send files: nothing here reads it. It is set by its sysctl."""
        return _made(self._parts).mb_use_ext_pgs


if not cython.compiled:

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a new pool has nothing, as a compiled one."""
        pool = object.__new__(cls)
        pool._allocator = pool._parts = pool._sysctl = None
        return pool

    type.__setattr__(Pool, "__new__", _blank)


def _made(parts: Any) -> Subsystem:
    """The parts of a pool; refuses one whose `__init__` has not run."""
    if parts is None:
        nothing: Allocator = cython.cast(Allocator, None)
        ready(nothing)
    whole: Subsystem = parts
    return whole


def _mbuf(verb: str, m: Any) -> None:
    """Refuse what is no mbuf."""
    if not isinstance(m, Mbuf):
        raise TypeError(f"{verb}: give an mbuf, not {_kind(m)}")


def _list(packets: Any) -> None:
    """Refuse what is no list; a subclass's own methods would not be called, so that is refused too."""
    if type(packets) is not list:
        raise TypeError(f"free_bulk: give a list, which it takes over and empties, not {_kind(packets)}")


def _kind(thing: Any) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"


def _header(name: str, count: int) -> int:
    """The bytes of a header, which an mbuf with a packet header must hold."""
    if not 0 <= count <= MHLEN:
        raise Inval(f"{name} {count}: give the bytes of the largest header, 0 to {MHLEN}")
    return count


def _bytes(vm: Any) -> int:
    """Bytes of memory: those of a Vm, so many, or by default this machine's."""
    if vm is None:
        return host_memory()
    if isinstance(vm, Vm):
        return vm.realmem
    if isinstance(vm, bool) or not hasattr(vm, "__index__"):
        raise TypeError(f"Pool: give a Vm, a number of bytes, or None for this machine's memory, not {_kind(vm)}")
    return Vm(index(vm)).realmem
