"""`Pool`: every method of a pool of network buffers, on one page.

A method converts its arguments to checked numbers, which may run user code, and calls a function of the module on its
topic: `allocator`, `chain`, `bulk`, `build`, `extpg`, `aio`. A pool is made of the parts of a `Subsystem`. There is
no default pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
    MJUMPAGESIZE,
    MT_DATA,
    MTAG_ABI_COMPAT,
)
from mbuf.errors import Inval
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.source import until
from mbuf.pool import allocator, build, bulk, chain, extpg
from mbuf.pool.allocator import Allocator, fire
from mbuf.pool.validate import at_least, validate
from mbuf.vm.buffer_export import export_buffer
from mbuf.vm.ints import integer, kind_of
from mbuf.vm.sfbuf import NSFBUFS
from mbuf.vm.vm import in_bytes
from mbuf.vm.warn import end_block, warn

if TYPE_CHECKING:
    import os
    from types import TracebackType

    import cython

    from mbuf.packet.cluster import Cluster
    from mbuf.packet.sndtag import SndTag, SndTags
    from mbuf.packet.tag import Tag, TagZone
    from mbuf.pool.audit import PoolAudit
    from mbuf.pool.drains import Drains
    from mbuf.pool.file import File
    from mbuf.pool.limits import Limits
    from mbuf.pool.lowmem import MemoryWatch
    from mbuf.pool.probes import MbufProbes
    from mbuf.pool.publish import StatPage
    from mbuf.pool.reclaim import Reclaim
    from mbuf.pool.reserve import Reserve
    from mbuf.pool.stat import PoolStat
    from mbuf.pool.subsystem import Subsystem
    from mbuf.pool.sysctl import Sysctl
    from mbuf.pool.zones import Zones
    from mbuf.uma.cpu import Cpus
    from mbuf.uma.limit import Warnings
    from mbuf.uma.pages import Pages
    from mbuf.vm.event import Event
    from mbuf.vm.sfbuf import SfBufs
    from mbuf.vm.vm import Vm
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.pool.allocator import ready
    from mbuf.vm.commit import check_latch, run_releases

#: The defaults as objects: to find that an argument is the default takes no more than a look.
NOWAIT: int = M_NOWAIT
DATA: int = MT_DATA
PKTHDR: int = M_PKTHDR


@cython.cclass
class Pool:
    """A bounded supply of network buffers: mbufs and clusters, each with a limit.

    `memory` is its budget: a number of bytes, or a text such as "64M" (K, M, G, T; KiB, MiB and so on are the same). It
    is the only bound: every kind of mbuf and cluster can have all of it, and what one kind frees, every other can use.
    `limits` maps kinds ("mbuf", "clust", "jumbop", "jumbo9", "jumbo16", the names in `pool.zones` and `pool.stat()`) to
    the most items of that kind. `reserve_for` maps kinds to bytes: the last of the memory, which only that kind gets.

    Without `memory`, with a `Vm` in its place or as `vm`, with `tunables`, or with `limits="freebsd"`, the pool has
    FreeBSD's limits. They are planned for `memory`, or for the pages of the `Vm`, which several pools can share, or for
    the memory of this machine or of its control group. `tunables` maps names (kern.ipc.nmbclusters, kern.ipc.nmbufs,
    ..., vm.kmem_size, hw.physmem) to numbers, or to texts as in loader.conf; limits that are not given are the kernel's
    defaults for that memory. With `strict`, contradictory tunables raise `Inval`, and there is a `TunableWarning` for
    each that the kernel ignores or changes. With `strict=False` there is neither: each tunable does what it does in the
    kernel. An unknown name always raises `Inval`.

    `ncpu` is the number of CPUs, each with its caches. `debug` finds writes to freed memory and remembers where each
    mbuf was allocated. `caching=False` caches nothing, as a kernel that is short of pages. `worker=False` starts no
    thread: drains run only when `reclaim.run()` is called. `max_linkhdr` and `max_protohdr` (0 to 168) are the bytes
    of the largest headers of the link layer and of the protocols above it, for which methods leave room. `nsfbufs` is
    how many pages of files can be mapped at once.

    Methods that allocate have these arguments in common. `how` is M_NOWAIT (raise `NoBufs` at a limit, `NoMemory`
    without free pages) or M_WAITOK (wait, for at most `timeout` seconds, then raise the same; None waits without
    end). M_NOWAIT with a timeout raises `Inval`. `type` is an MT_ number. `flags` are flags of M_COPYFLAGS. A wrong
    argument raises `Inval`. A call that fails takes nothing. The mbuf that is returned belongs to the caller.

    Close a pool with `close`, or use it in a `with` statement; a pool that is dropped closes itself. Mbufs that are
    out at that time stay valid until they are freed. Any thread may use a pool. `Pool` may be subclassed; every
    method raises `Inval` until its `__init__` has run.
    """

    __slots__ = ("_allocator", "_parts", "_sysctl")

    def __init__(
        self,
        memory: Vm | int | str | None = None,
        tunables: Mapping[str, int | str] = MappingProxyType({}),
        ncpu: int = 1,
        debug: bool = False,
        caching: bool = True,
        worker: bool = True,
        max_linkhdr: int = 16,
        max_protohdr: int = 60,
        nsfbufs: int = NSFBUFS,
        strict: bool = True,
        vm: Vm | None = None,
        limits: Mapping[str, int] | str | None = None,
        reserve_for: Mapping[str, int | str] | None = None,
    ) -> None:
        check_latch()
        # `import mbuf` doesn't load what only the making of a pool takes.
        from mbuf.pool.assemble import assemble

        parts = assemble(
            memory,
            tunables,
            ncpu,
            debug,
            caching,
            worker,
            max_linkhdr,
            max_protohdr,
            nsfbufs,
            strict,
            vm,
            limits,
            reserve_for,
        )
        made: Any = self._parts  # type: ignore[has-type]
        if made is not None:
            parts.close()
            raise Inval("this pool was made already: make another one")
        self._parts = parts
        self._sysctl: Sysctl | None = None
        self._allocator = parts.allocator

    # One mbuf.

    def get(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """Allocate an mbuf without a cluster and without a packet header: room for 224 bytes. See m_get."""
        check_latch()
        if how is NOWAIT and type is DATA and timeout is None:
            return allocator.get(self._allocator, M_NOWAIT, MT_DATA, 0, timeout)
        wait, kind = integer(how, "how"), integer(type, "type")
        validate(wait, kind, 0)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return allocator.get(self._allocator, wait, kind, 0, deadline)
        finally:
            run_releases()

    def gethdr(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """Allocate an mbuf with a packet header and without a cluster: room for 168 bytes. See m_gethdr."""
        check_latch()
        if how is NOWAIT and type is DATA and timeout is None:
            return allocator.get(self._allocator, M_NOWAIT, MT_DATA, M_PKTHDR, timeout)
        wait, kind = integer(how, "how"), integer(type, "type")
        validate(wait, kind, 0)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return allocator.get(self._allocator, wait, kind, M_PKTHDR, deadline)
        finally:
            run_releases()

    def getcl(
        self, how: int = M_NOWAIT, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None
    ) -> Mbuf:
        """Allocate an mbuf with a cluster of 2048 bytes, by default with a packet header. See m_getcl.

        It comes from the packet zone, which keeps mbufs and clusters together in its caches.
        """
        check_latch()
        if how is NOWAIT and type is DATA and flags is PKTHDR and timeout is None:
            return allocator.getcl(self._allocator, M_NOWAIT, MT_DATA, M_PKTHDR, timeout)
        wait, kind, bits = integer(how, "how"), integer(type, "type"), integer(flags, "flags")
        validate(wait, kind, bits)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            return allocator.getcl(self._allocator, wait, kind, bits, deadline)
        finally:
            run_releases()

    def getjcl(
        self,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        size: int = MJUMPAGESIZE,
        timeout: float | None = None,
    ) -> Mbuf:
        """Allocate an mbuf with a cluster of `size` bytes: 2048, 4096, 9216 or 16384. See m_getjcl.

        A cluster of 9216 or 16384 bytes takes contiguous pages: it may raise `NoMemory` while single pages are free.
        """
        check_latch()
        wait, kind, bits, count = (
            integer(how, "how"),
            integer(type, "type"),
            integer(flags, "flags"),
            integer(size, "size"),
        )
        validate(wait, kind, bits)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            if wait == M_WAITOK and self._shared():
                return bulk.wait_for_bulk(self._allocator, 1, kind, bits, count, deadline)[0]
            return allocator.getjcl(self._allocator, wait, kind, bits, count, deadline)
        finally:
            run_releases()

    def get2(
        self,
        size: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        timeout: float | None = None,
    ) -> Mbuf:
        """Allocate the smallest mbuf, with or without a cluster, that holds `size` bytes, at most 4096. See m_get2.

        A size of 0 or less gives an mbuf without a cluster, as in the kernel. A larger size raises `Inval`, where the
        kernel returns NULL.
        """
        check_latch()
        count, wait, kind, bits = (
            integer(size, "size"),
            integer(how, "how"),
            integer(type, "type"),
            integer(flags, "flags"),
        )
        validate(wait, kind, bits)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            if wait == M_WAITOK and MCLBYTES < count <= MJUMPAGESIZE and self._shared():
                return allocator.wait_for_get2(self._allocator, count, kind, bits, deadline)
            return allocator.get2(self._allocator, count, wait, kind, bits, deadline)
        finally:
            run_releases()

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
        """Allocate a chain that holds `len` bytes, of mbufs as large as possible. See m_getm2.

        With `m`, append the new mbufs to its chain and return `m`; otherwise return the first new mbuf. Of the flags,
        only M_PKTHDR (for a new chain) and M_EOR (set in the last mbuf, and cleared in the one that was last) have an
        effect. If `m` is freed while this waits, it raises `Freed` and frees the new mbufs.
        """
        check_latch()
        count, wait, kind, bits = (
            integer(len, "len"),
            integer(how, "how"),
            integer(type, "type"),
            integer(flags, "flags"),
        )
        validate(wait, kind, bits)
        deadline = None if timeout is None else until(wait, timeout)
        if m is not None:
            _mbuf("getm2", m)
        try:
            return chain.getm2(self._allocator, m, count, wait, kind, bits, deadline)
        finally:
            run_releases()

    def get_row(self, n: int, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """Allocate a chain of `n` mbufs, 1 or more, as `get` does: all of them, or it raises and takes none."""
        check_latch()
        count, wait, kind = integer(n, "n"), integer(how, "how"), integer(type, "type")
        validate(wait, kind, 0)
        deadline = None if timeout is None else until(wait, timeout)
        try:
            if wait == M_WAITOK and self._shared():
                return chain.wait_for_row(self._allocator, count, kind, deadline)
            return allocator.row(self._allocator, count, wait, kind, deadline)
        finally:
            run_releases()

    def freem(self, m: Mbuf | None) -> None:
        """Free a packet: `m` and all mbufs that follow it by `next`. None is allowed and frees nothing. See m_freem."""
        check_latch()
        ready(self._allocator)
        try:
            if m is not None:
                _mbuf("freem", m)
                m.freem()
            elif self._allocator.probes.on:
                fire(self._allocator, "m-freem", None, None)
        finally:
            run_releases()

    # Clusters.

    def clget(self, m: Mbuf, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """Attach a cluster of 2048 bytes to an mbuf without external storage; return `m`. See m_clget.

        The bytes that `m` held are lost. With M_NOWAIT, if there is no cluster, it frees those of packets in the
        zone's depot and tries again, as the kernel does, and then, in a pool with several CPUs, those in the
        caches of all CPUs. If `m` was freed, or got storage, while this waited, it raises `Freed` or `Inval`, and
        gives the cluster back.
        """
        check_latch()
        wait = integer(how, "how")
        validate(wait, MT_DATA, 0)
        deadline = None if timeout is None else until(wait, timeout)
        _mbuf("clget", m)
        try:
            return allocator.clget(self._allocator, m, wait, deadline)
        finally:
            run_releases()

    def cljget(
        self, m: Mbuf | None, how: int = M_NOWAIT, size: int = MJUMPAGESIZE, timeout: float | None = None
    ) -> Mbuf | Cluster:
        """Attach a cluster of `size` bytes (2048, 4096, 9216, 16384) to an mbuf without external storage; return `m`.

        With None for `m`, return the `Cluster` itself, which belongs to the caller. If `m` was freed, or got storage,
        while this waited, it raises `Freed` or `Inval`, and gives the cluster back. See m_cljget.
        """
        check_latch()
        wait, count = integer(how, "how"), integer(size, "size")
        validate(wait, MT_DATA, 0)
        deadline = None if timeout is None else until(wait, timeout)
        if m is not None:
            _mbuf("cljget", m)
        try:
            got: Mbuf | Cluster = allocator.cljget(self._allocator, m, count, wait, deadline)
            return got
        finally:
            run_releases()

    # Many at once.

    def getcl_bulk(
        self,
        n: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        timeout: float | None = None,
    ) -> list[Mbuf]:
        """Allocate a list of `n` mbufs as `getcl` does, in one call: all of them, or it raises and takes none."""
        check_latch()
        count, wait, kind, bits = integer(n, "n"), integer(how, "how"), integer(type, "type"), integer(flags, "flags")
        validate(wait, kind, bits)
        if count < 0:
            at_least(0, count, "getcl_bulk")
        deadline = None if timeout is None else until(wait, timeout)
        try:
            if wait == M_WAITOK and self._shared():
                return bulk.wait_for_bulk(self._allocator, count, kind, bits, MCLBYTES, deadline)
            return bulk.getjcl_bulk(self._allocator, count, wait, kind, bits, MCLBYTES, deadline)
        finally:
            run_releases()

    def getjcl_bulk(
        self,
        n: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        size: int = MJUMPAGESIZE,
        timeout: float | None = None,
    ) -> list[Mbuf]:
        """Allocate a list of `n` mbufs as `getjcl` does, in one call: all of them, or it raises and takes none."""
        check_latch()
        count, wait, kind, bits, each = (
            integer(n, "n"),
            integer(how, "how"),
            integer(type, "type"),
            integer(flags, "flags"),
            integer(size, "size"),
        )
        validate(wait, kind, bits)
        if count < 0:
            at_least(0, count, "getjcl_bulk")
        deadline = None if timeout is None else until(wait, timeout)
        try:
            if wait == M_WAITOK and self._shared():
                return bulk.wait_for_bulk(self._allocator, count, kind, bits, each, deadline)
            return bulk.getjcl_bulk(self._allocator, count, wait, kind, bits, each, deadline)
        finally:
            run_releases()

    def free_bulk(self, packets: list[Mbuf]) -> None:
        """Free every packet of a list, and empty the list.

        It raises `Inval` if the list has something else in it or the same packet twice, and `Freed` if a packet of it
        was freed before; then nothing was freed. What a free routine adds to the list meanwhile stays in it. If a
        free routine frees a packet of the list, the others are freed, and then it raises `Freed`.
        """
        check_latch()
        ready(self._allocator)
        _list(packets)
        try:
            bulk.free_bulk(packets)
        finally:
            run_releases()

    def _shared(self) -> bool:
        """True if the pool has a budget."""
        ready(self._allocator)
        return self._allocator.budget is not None

    # Unmapped pages, and mbufs of no zone.

    def alloc_ext_pgs(
        self,
        how: int = M_NOWAIT,
        free: Callable[[Mbuf], object] | None = None,
        arg1: Any = None,
        timeout: float | None = None,
    ) -> Mbuf:
        """Allocate an mbuf of unmapped pages that has no pages yet; see `m.addpages` and `m.epg`. See mb_alloc_ext_pgs.

        When the last mbuf that shares the pages is freed, `free(m)` is called once, with an mbuf whose `epg` and
        `ext` (`ext.arg1` is `arg1`) still describe them; then the pages are freed.
        """
        check_latch()
        wait = integer(how, "how")
        validate(wait, MT_DATA, 0)
        deadline = None if timeout is None else until(wait, timeout)
        ready(self._allocator)
        try:
            return extpg.alloc_ext_pgs(self._allocator, self._allocator.pages, wait, free, arg1, deadline)
        finally:
            run_releases()

    def alloc_ext_plus_pages(self, len: int, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """Allocate an mbuf of as many unmapped pages of memory as hold `len` bytes, at most 20480; its length is 0.

        Write to the pages with `m.page`. See mb_alloc_ext_plus_pages.
        """
        check_latch()
        size, wait = integer(len, "len"), integer(how, "how")
        validate(wait, MT_DATA, 0)
        deadline = None if timeout is None else until(wait, timeout)
        ready(self._allocator)
        try:
            if wait == M_WAITOK and self._shared():
                return extpg.wait_for_pages(self._allocator, size, deadline)
            return extpg.alloc_ext_plus_pages(self._allocator, self._allocator.pages, size, wait, deadline)
        finally:
            run_releases()

    def init(self, how: int = M_NOWAIT, type: int = MT_DATA, flags: int = 0) -> Mbuf:
        """Make an mbuf that belongs to no zone, with M_NOFREE: no limit counts it. See m_init.

        Give it storage with `extaddref`, or with `extadd` of a receive ring (EXT_RXRING).
        """
        check_latch()
        wait, kind, bits = integer(how, "how"), integer(type, "type"), integer(flags, "flags")
        validate(wait, kind, bits ^ M_NOFREE if bits & M_NOFREE else bits)
        try:
            return build.init(self._allocator, wait, kind, bits)
        finally:
            run_releases()

    # Mbufs with something in them.

    def frombytes(
        self,
        data: Any,
        how: int = M_NOWAIT,
        align: int = 0,
        flags: int = M_PKTHDR,
        timeout: float | None = None,
    ) -> Mbuf:
        """Allocate a chain and copy the bytes of `data`, any object with a buffer, into it. See m_uiotombuf.

        The mbufs are as large as possible. `align` (0 to 167) bytes of room are left before the data. `data` may be
        empty. With M_EXTPG and without M_PKTHDR the bytes are copied to unmapped pages, at most `align` bytes in each
        mbuf, or as many as possible if it is 0.
        """
        check_latch()
        wait, room, bits = integer(how, "how"), integer(align, "align"), integer(flags, "flags")
        validate(wait, MT_DATA, 0 if bits & M_EXTPG else bits)
        deadline = None if timeout is None else until(wait, timeout)
        export = export_buffer(data)
        try:
            return build.frombytes(self._allocator, export, wait, room, bits, deadline)
        finally:
            export.release()
            run_releases()

    def devget(
        self,
        data: Any,
        off: int = 0,
        rcvif: Any = None,
        copy: Callable[[memoryview, memoryview], object] | None = None,
    ) -> Mbuf:
        """Allocate a packet and copy the bytes of `data` into it, as the driver of a network card does. See m_devget.

        `off` (0 to 168) bytes of room are left before the data, and room for a link layer header if all of it then
        fits into one mbuf. `rcvif` becomes the packet's receive interface. With `copy`, `copy(source, target)` is
        called for each piece instead of copying, after all mbufs were allocated; if it raises, the packet is freed
        and the exception passed on.
        """
        check_latch()
        room = integer(off, "off")
        if copy is not None and not callable(copy):
            raise TypeError("devget: copy must be a function to call, or None")
        export = export_buffer(data)
        view = None if copy is None else memoryview(data).cast("B")
        try:
            return build.devget(self._allocator, export, room, rcvif, copy, view)
        finally:
            export.release()
            run_releases()

    def wrap(self, obj: Any, on_free: Callable[[Any], object] | None = None) -> Mbuf:
        """Allocate a packet whose bytes are those of `obj`, any object with a buffer; nothing is copied.

        `on_free(obj)` is called once, when the last mbuf that shares the bytes was freed and the last view of them
        was released. `m.detach()` gives the object back before that.
        """
        check_latch()
        if on_free is not None and not callable(on_free):
            raise Inval("wrap: on_free must be a function to call, or None")
        try:
            return build.wrap(self._allocator, obj, on_free)
        finally:
            run_releases()

    def file(self, file: Any) -> File:
        """Open a regular file, by path or descriptor, whose pages packets can hold without a copy; return a `File`.

        A descriptor stays open and belongs to the caller. Raises `OSError` if the file can't be opened.
        """
        check_latch()
        ready(self._allocator)
        from mbuf.pool.file import File
        from mbuf.vm.pagefile import open_file

        return File(self._allocator, open_file(file, self._allocator.sfbufs))

    # What packets carry along.

    def tag_alloc(self, cookie: int, type: int, value: Any = None, how: int = M_NOWAIT) -> Tag:
        """Allocate a tag for `m.tag_prepend`, which takes it over; until then it is the caller's. See m_tag_alloc."""
        check_latch()
        ready(self._allocator)
        tag: Tag = self._allocator.tags.alloc(cookie, type, value, how)
        return tag

    def tag_get(self, type: int, value: Any = None, how: int = M_NOWAIT) -> Tag:
        """Allocate a tag with the cookie MTAG_ABI_COMPAT. See `tag_alloc`, and m_tag_get."""
        check_latch()
        ready(self._allocator)
        tag: Tag = self._allocator.tags.alloc(MTAG_ABI_COMPAT, type, value, how)
        return tag

    def snd_tag_alloc(self, ifp: Any, params: Any = None) -> SndTag:
        """Ask an interface for a send tag, with one reference, which is the caller's. See m_snd_tag_alloc.

        Raises `NotSupported` if the interface has no send tags, and what the interface raises.
        """
        check_latch()
        tag: SndTag = _made(self._parts).snd_tags.alloc(ifp, params)
        return tag

    # In asyncio. With a `timeout`, in seconds, these raise like those that don't wait.

    async def aget(self, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """Do what `get` does, and wait for it as an asyncio task."""
        check_latch()
        ready(self._allocator)
        kind = integer(type, "type")
        deadline = until(M_WAITOK, timeout)
        try:
            from mbuf.pool import aio

            return await aio.aget(self._allocator, kind, 0, deadline)
        finally:
            run_releases()

    async def agethdr(self, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """Do what `gethdr` does, and wait for it as an asyncio task."""
        check_latch()
        ready(self._allocator)
        kind = integer(type, "type")
        deadline = until(M_WAITOK, timeout)
        try:
            from mbuf.pool import aio

            return await aio.aget(self._allocator, kind, M_PKTHDR, deadline)
        finally:
            run_releases()

    async def agetcl(self, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None) -> Mbuf:
        """Do what `getcl` does, and wait for it as an asyncio task."""
        check_latch()
        ready(self._allocator)
        kind, bits = integer(type, "type"), integer(flags, "flags")
        deadline = until(M_WAITOK, timeout)
        try:
            from mbuf.pool import aio

            return await aio.agetcl(self._allocator, kind, bits, deadline)
        finally:
            run_releases()

    async def agetjcl(
        self, type: int = MT_DATA, flags: int = M_PKTHDR, size: int = MJUMPAGESIZE, timeout: float | None = None
    ) -> Mbuf:
        """Do what `getjcl` does, and wait for it as an asyncio task: first for the mbuf, then for its cluster.

        While it waits for the cluster it holds the mbuf.
        """
        check_latch()
        ready(self._allocator)
        kind, bits, count = integer(type, "type"), integer(flags, "flags"), integer(size, "size")
        deadline = until(M_WAITOK, timeout)
        try:
            from mbuf.pool import aio

            return await aio.agetjcl(self._allocator, kind, bits, count, deadline)
        finally:
            run_releases()

    async def agetm2(self, len: int, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None) -> Mbuf:
        """Do what `getm2` does for a new chain, and wait for it as an asyncio task, for one mbuf after the other.

        It holds the mbufs that it has while it waits for the next.
        """
        check_latch()
        ready(self._allocator)
        count, kind, bits = integer(len, "len"), integer(type, "type"), integer(flags, "flags")
        deadline = until(M_WAITOK, timeout)
        try:
            from mbuf.pool import aio

            return await aio.agetm2(self._allocator, count, kind, bits, deadline)
        finally:
            run_releases()

    # The pool as a whole.

    def watch_memory(self) -> MemoryWatch:
        """Return a context in which drains run and caches are trimmed whenever Linux says that memory is short.

        Drains run in a thread of their own in a `with` statement, and in the event loop in an `async with`.
        """
        check_latch()
        from mbuf.pool.lowmem import MemoryWatch

        return MemoryWatch(_made(self._parts).vm)

    @contextmanager
    def cpu(self, number: int) -> Iterator[None]:
        """Return a context in which the calling thread uses the caches of CPU `number`.

        Raises `Inval` unless it is from 0 to `cpus.count` - 1.
        """
        check_latch()
        cpus = _made(self._parts).cpus
        before = cpus.move(integer(number, "number"))
        try:
            yield
        finally:
            cpus.move(before)

    def drain(self) -> None:
        """Give the pages of all free items back to the operating system, also of those in the caches of all CPUs.

        See uma_reclaim with UMA_RECLAIM_DRAIN_CPU.
        """
        check_latch()
        try:
            _made(self._parts).reclaim.drain()
        finally:
            run_releases()

    def available(self, kind: str) -> int:
        """Return how many more mbufs of a kind can be had now without waiting; it may understate, and takes none.

        `kind` is "mbuf" (`get`), "clust" (`getcl`), "jumbop", "jumbo9" or "jumbo16" (`getjcl`). What the pool caches
        counts, since a pool with a budget takes it back when it is short of memory. 0 while calls wait for memory. In a
        pool with FreeBSD's limits, pages that caches could take first are left out.
        """
        check_latch()
        from mbuf.pool.shortage import available

        return available(_made(self._parts), str(kind))

    def stat(self) -> PoolStat:
        """Return a snapshot of all numbers of all zones."""
        check_latch()
        return _made(self._parts).stat()

    def publish(
        self, name: str = "pool", interval: float | None = 1.0, folder: str | os.PathLike[str] | None = None
    ) -> StatPage:
        """Write the pool's numbers to a small file in memory, where other processes of this user and root read them.

        `mbuf.stats.published.read(pid)` reads it, without stopping this process. A thread updates it every `interval`
        seconds, 0.1 or more; with None there is no thread, and the program calls `update`. Several pools of one
        process need different names. `folder` is /dev/shm by default. The page is removed when it or the pool is
        closed, and at the end of the program; a page that a killed process left behind counts as stale, and the next
        program that publishes removes it. The child of a fork doesn't write to the page of its parent.

        Raises `Inval` for a name in use or a closed pool, OSError if the file can't be made.
        """
        check_latch()
        from mbuf.pool.publish import StatPage

        parts = _made(self._parts)
        if not parts.alive:
            raise Inval("publish: this pool is closed")
        return StatPage(parts, name, interval, folder)

    def audit(self, cycles: bool = False) -> PoolAudit:
        """Compare all that the pool records of its memory, and return where everything is; it changes nothing.

        Raises `Corrupt`, which names the first contradiction. Call it while no other call of the pool is in progress,
        except calls that wait. With `cycles`, it also searches all objects of the program, which takes a while, for
        mbufs of any pool that refer to themselves through a tag's value, an interface or lent memory: those are never
        collected.
        """
        check_latch()
        from mbuf.pool.audit import audit

        return audit(self, bool(cycles))

    def __sizeof__(self) -> int:
        """Bytes of the pool, and of all pages that its zones have, in use or cached: `sys.getsizeof(pool)`.

        The memory of all mbufs is part of that. A pool that was never made has no pages.
        """
        return object.__sizeof__(self) + (0 if self._parts is None else self._parts.held_bytes)

    def sites(self) -> Counter[str]:
        """Return, for each place in the program, how many mbufs allocated there are out.

        Empty unless the pool was made with `debug`.
        """
        check_latch()
        return _made(self._parts).sites()

    def close(self) -> int:
        """Allocate nothing from now on, give all free memory back, and return how many mbufs are still out.

        Those stay valid until they are freed. If there are any, the first call warns with a `ResourceWarning`. Calls
        that wait raise.
        """
        check_latch()
        parts = _made(self._parts)
        try:
            first = parts.close()
        finally:
            run_releases()
        if first and parts.out:
            most = sorted(parts.sites().items(), key=lambda item: -item[1])[:10]
            places = "".join(f"\n  {count} from {site}" for site, count in most)
            warn(f"pool closed with {parts.out} mbufs still out{places}", ResourceWarning)
        return parts.out

    def __enter__(self) -> Pool:
        _made(self._parts)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """`close`. A warning that a filter makes an error is added to the exception of the block, if there is one."""
        end_block(self.close, error)

    def __del__(self) -> None:
        # Items that are cached refer to their zone, and it to them.
        # One that was never whole has nothing to close, and the end of the program closes all.
        parts = getattr(self, "_parts", None) if not cython.compiled else self._parts
        if parts is not None and parts.alive and is_finalizing is not None and not is_finalizing():
            self.close()

    def __repr__(self) -> str:
        # Uncompiled, the constructor of a subclass may fail before there are parts.
        parts = getattr(self, "_parts", None) if not cython.compiled else self._parts
        if parts is None:
            return f"<{type(self).__name__}, never made>"
        closed = "" if parts.alive else ", closed"
        out = "1 mbuf" if parts.out == 1 else f"{parts.out} mbufs"
        return f"<{type(self).__name__} of {in_bytes(parts.vm.realmem)}, {out} out{closed}>"

    def __reduce__(self) -> Any:
        raise TypeError("a pool can't be pickled or copied: it is memory of this process")

    # What it is made of, to be read.

    @property
    def zones(self) -> Zones:
        """The zones in force: `mbuf`, `pack`, `clust`, `jumbop`, `jumbo9`, `jumbo16`; those of the reserve while it
        is started.
        """
        ready(self._allocator)
        return self._allocator.zones

    @property
    def own(self) -> Zones:
        """The pool's own zones, also while those of the reserve are in force."""
        return _made(self._parts).own

    @property
    def vm(self) -> Vm:
        """The budget of pages, which several pools can share."""
        return _made(self._parts).vm

    @property
    def limits(self) -> Limits:
        """The limits planned when the pool was made; the limits in force are those of the zones."""
        return _made(self._parts).limits

    @property
    def cpus(self) -> Cpus:
        """The CPUs of the pool, and which of them each thread uses."""
        return _made(self._parts).cpus

    @property
    def debug(self) -> bool:
        """True if writes to freed memory are found, and it is remembered where each mbuf was allocated."""
        return _made(self._parts).debug

    @property
    def out(self) -> int:
        """Mbufs handed out, with or without a cluster; also those that ports have posted for packets to come."""
        return _made(self._parts).out

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
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
        """The supply of single pages for mbufs of unmapped pages."""
        ready(self._allocator)
        return self._allocator.pages

    @property
    def sfbufs(self) -> SfBufs:
        """The mappings of pages of files, at most `nsfbufs` of them. See sf_buf(9)."""
        ready(self._allocator)
        windows: SfBufs = self._allocator.sfbufs
        return windows

    @property
    def tags(self) -> TagZone:
        """The memory of packet tags: how many are out, and their bytes."""
        ready(self._allocator)
        tags: TagZone = self._allocator.tags
        return tags

    @property
    def snd_tags(self) -> SndTags:
        """How many send tags are out. See kern.ipc.num_snd_tags."""
        return _made(self._parts).snd_tags

    @property
    def probes(self) -> MbufProbes:
        """The probes of allocating and freeing: `pool.probes.attach(name, fn)` calls `fn` whenever the probe fires."""
        ready(self._allocator)
        probes: Any = self._allocator.probes
        listening: MbufProbes = probes
        return listening

    @property
    def reserve(self) -> Reserve:
        """Mbufs and clusters set aside for when memory is out. See debugnet_mbuf_reinit."""
        return _made(self._parts).reserve

    @property
    def sysctl(self) -> Sysctl:
        """Limits and numbers by the names of sysctl(8): `pool.sysctl["kern.ipc.nmbclusters"]`. Setting one raises a
        limit.
        """
        parts = _made(self._parts)
        if self._sysctl is None:
            from mbuf.pool.sysctl import Sysctl

            self._sysctl = Sysctl(parts)
        return self._sysctl

    @property
    def reclaim(self) -> Reclaim:
        """What runs the drains and trims caches when memory is short. See mb_reclaim."""
        return _made(self._parts).reclaim

    @property
    def drains(self) -> Drains:
        """Functions called when a limit is reached or memory is low: `pool.drains.register(fn, name)`. See pr_drain."""
        return _made(self._parts).reclaim.drains

    @property
    def changes(self) -> Mapping[str, Event]:
        """Events by the name of a limit, each invoked after a sysctl has raised that limit. See nmbclusters_change."""
        return _made(self._parts).changes

    @property
    def warnings(self) -> Warnings:
        """Whether a zone at its limit logs that, and how often."""
        return _made(self._parts).warnings

    @property
    def quotas(self) -> dict[Any, Any]:
        """By event loop: how the connections there divide the memory between them. See `mbuf.net.quota.Quota.of`."""
        return _made(self._parts).quotas

    @property
    def mb_use_ext_pgs(self) -> bool:
        """The value of kern.ipc.mb_use_ext_pgs, for code that sends files; the pool itself does not read it."""
        return _made(self._parts).mb_use_ext_pgs


if not cython.compiled:

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a pool whose `__init__` has not run has no parts, as a compiled one has none."""
        pool = object.__new__(cls)
        pool._allocator = pool._parts = pool._sysctl = None
        return pool

    type.__setattr__(Pool, "__new__", _blank)


def _made(parts: Any) -> Subsystem:
    """The parts of a pool; refuses a pool whose `__init__` has not run."""
    if parts is None:
        nothing: Allocator = cython.cast(Allocator, None)
        ready(nothing)
    whole: Subsystem = parts
    return whole


def _mbuf(verb: str, m: Any) -> None:
    """Refuse anything but an mbuf."""
    if not isinstance(m, Mbuf):
        raise TypeError(f"{verb}: give an mbuf, not {kind_of(m)}")


def _list(packets: Any) -> None:
    """Refuse anything but a list, also subclasses: their own methods would not be called."""
    if type(packets) is not list:
        raise TypeError(f"free_bulk: give a list, which it takes over and empties, not {kind_of(packets)}")
