"""Unmapped pages as the storage of mbufs (M_EXTPG): bytes without an address of their own.

    m -> Unmapped, users = 3 <--root-- Unmapped <- n          epg:  hdr | page | page | ... | trail
                             <--root-- Mapped <- p                  23     up to 5 pages       64 bytes at most

The data of an mbuf is a stretch of hdr, pages and trail, which `Epg` describes. Each mbuf has an `Unmapped` of its
own, since each may change its `epg`. The first one, the root, counts all users and frees the pages; the others refer
to it with `root`, and their own `users` is 0. A `Mapped`, which is one page seen through a window, is a user of the
root too. The owner, whose item waits for the last user, is as in packet/ext.py.

Pages are `frames`, which are memory, or pages of a `file`. A page of a file has no address until `window` maps it.
That may raise `NoBufs` or run other code, so it never happens in a commit; `release_window` ends the use.
To the layer below, this is a memory that isn't contiguous: `read` and `copy_scattered` collect the bytes piece by
piece, and whatever needs contiguous bytes finds `size` 0. Unmapped bytes are never writable.

The last `unref` puts the root on the release list. After the commit, `end` frees in this order: the tags, the free
routine is called, the pages. An mbuf with a TLS session that ends with it waits, as a `DeferredFree`, for a worker.
`released` is true from the call of the routine on: nothing can share or map the pages any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.packet.m_ext import Ext
    from mbuf.packet.mbuf import Mbuf
    from mbuf.vm.pagefile import PageFile
else:
    from mbuf.shadow import cython

from mbuf.const import EPG_FLAG_2FREE, MBUF_PEXT_MAX_PGS, PAGE_SIZE
from mbuf.errors import Busy, Inval
from mbuf.packet.deferred_free import DeferredFree
from mbuf.packet.epg import Epg, new_epg
from mbuf.packet.ext import Storage, ext_class
from mbuf.uma.item import Item, ItemOwner
from mbuf.uma.pages import Pages
from mbuf.vm.page import Memory, view_of

if not cython.compiled:
    from mbuf.packet.ext import free_tags
    from mbuf.uma.item import free_item
    from mbuf.vm.commit import enter_commit, leave_commit, release_later, run_releases


@cython.no_gc
@cython.cclass
class Unmapped(Storage):
    """The unmapped pages of one mbuf. Made by `unmapped`, or by `make_sharer`."""

    #: A sharer has the `frames` of its root, and doesn't own them. `root` is None in the root itself. `free_cb` is the
    #: free routine, its argument, and the function that calls it. `detached`: the pages are to be freed, but the mbuf
    #: lives on.
    __slots__ = ("detached", "epg", "file", "frames", "free_cb", "released", "root", "supply", "tls")
    detached: bool
    epg: Epg
    file: PageFile | None
    frames: tuple[Item, ...]
    root: Unmapped | None
    tls: Any
    free_cb: tuple[Any, ...] | None
    released: bool

    def __init__(self) -> None:
        raise TypeError("unmapped pages are made by unmapped(supply)")

    def init(self, supply: Pages) -> None:
        """Set the fields for a root with one user and no page. See mb_alloc_ext_pgs."""
        self.supply = supply
        self.frames = ()
        self.file = self.root = self.tls = self.free_cb = None
        self.released = False
        self.detached = False
        self.users = 1
        self._init_memory()

    def _init_memory(self) -> None:
        """Set the fields of a memory without contiguous bytes."""
        self.clear()
        if not cython.compiled:
            self.run = self.owner = self.link = None
            self.zone = cython.cast(ItemOwner, None)
            self.start = self.exports = self.type = 0
            self.fixed = self.held = self.gone = False

    def root_or_self(self) -> Unmapped:
        """Return the object that counts the users."""
        return self if self.root is None else self.root

    def live_root(self) -> Unmapped:
        """Return the root; `Inval` if its pages are being freed."""
        root = self.root_or_self()
        if root.released:
            raise Inval("the pages are being freed: a free routine may only read the mbuf that it gets")
        return root

    def set_free_cb(self, free: Callable[[Mbuf], object] | None, arg1: Any, call: Callable[..., None]) -> None:
        """Set the free routine and its argument; `call` calls it with an mbuf, before the pages are freed."""
        if free is not None or arg1 is not None:
            self.free_cb = (free, arg1, call)

    # Pages.

    def add_frames(self, frames: tuple[Item, ...]) -> None:
        """Add pages of memory, which are owned here then; the caller has checked that they aren't too many."""
        epg: Epg = self.epg
        numbers = epg.pages
        for frame in frames:
            numbers += (frame.run.page,)
        mine = self.frames
        self.frames = mine + frames
        epg.set_pages(numbers)

    def hold_file(self, file: PageFile, first: int, count: int) -> None:
        """Set `count` pages of a file, from page `first` on, as the pages of a storage without any."""
        file.take()
        self.file = file
        self.epg.set_run(first, count)

    def file_offset(self, off: int) -> int:
        """Return the offset in the file of byte `off`; -1 if it isn't in a page of a file."""
        epg: Epg = self.epg
        at = off - len(epg.hdr)
        if self.file is None or at < 0 or at >= self.page_bytes():
            return -1
        return epg.number(0) * PAGE_SIZE + epg.first_off + at

    def run_length(self, off: int, count: int) -> int:
        """Return how many of `count` bytes from `off` on are, like the first, in the file, or outside it."""
        if self.file is None:
            return count
        head = len(self.epg.hdr)
        end = head + self.page_bytes()
        if off < head:
            return min(count, head - off)
        return min(count, end - off) if off < end else count

    def page_bytes(self) -> int:
        """Return the bytes in the pages; `Inval` if `epg` says more than they hold."""
        epg: Epg = self.epg
        count = epg.total() - len(epg.hdr) - len(epg.trail)
        if epg.first_off + count > epg.npgs * PAGE_SIZE:
            raise Inval(f"epg: {count} bytes at {epg.first_off} of the pages: set first_off and last_len right")
        return count

    def window(self, page: int) -> Memory:
        """Return the memory of a page, until `release_window`; maps a page of a file. `NoBufs` if no window is free."""
        if self.file is None:
            if page >= len(self.frames):
                raise Busy("the pages were freed while their bytes were read")
            frame: Memory = self.frames[page]
            return frame
        file = self.file
        seen: Memory = file.window(self.epg.number(page))
        return seen

    def release_window(self, seen: Any) -> None:
        """End the use of a page's memory. Views of it keep it mapped."""
        if self.file is not None:
            file = self.file
            file.windows.free(seen)

    def page_view(self, page: int, start: int, count: int, fixed: bool) -> memoryview:
        """Return a view of some bytes of a page, which keeps them; read-only if `fixed`."""
        seen: Memory = self.window(page)
        try:
            return view_of(seen, start, count, fixed)
        finally:
            self.release_window(seen)

    def views(self, off: int, count: int) -> list[memoryview]:
        """Return a read-only view of each piece of `count` bytes from `off` on."""
        epg: Epg = self.epg
        found = []
        for page, start, n in epg.spans(off, count):
            if page < 0:
                beside = epg.hdr
                found.append(memoryview(beside)[start : start + n])
            elif page == epg.npgs:
                beside = epg.trail
                found.append(memoryview(beside)[start : start + n])
            else:
                found.append(self.page_view(page, start, n, True))
        return found

    def exchange_pages(self, other: Unmapped, pages: tuple[int, ...]) -> None:
        """In a commit: exchange pages with `other`, whose pages have these numbers and the same layout."""
        mine: Epg = self.epg
        its: Epg = other.epg
        its.copy(mine)
        mine.set_pages(pages)
        self.frames, other.frames = other.frames, self.frames
        self.file, other.file = other.file, self.file
        self.free_cb, other.free_cb = other.free_cb, self.free_cb

    # The interface of `Memory`.

    def is_contiguous(self) -> bool:
        return False

    def _check(self, offset: int, count: int) -> None:
        # There are no contiguous bytes to read or write.
        if count:
            raise IndexError("the bytes are in unmapped pages, so they aren't contiguous")

    def read(self, offset: int, count: int) -> bytes:
        """Return a copy of bytes, read piece by piece. See m_unmappedtouio."""
        epg: Epg = self.epg
        parts = []
        for page, start, n in epg.spans(offset, count):
            if page < 0:
                beside = epg.hdr
                parts.append(beside[start : start + n])
            elif page == epg.npgs:
                beside = epg.trail
                parts.append(beside[start : start + n])
            else:
                seen: Memory = self.window(page)
                try:
                    parts.append(seen.read(start, n))
                finally:
                    self.release_window(seen)
        return b"".join(parts)

    def copy_scattered(self, offset: int, count: int, target: Memory, start: int) -> None:
        epg: Epg = self.epg
        for page, at, n in epg.spans(offset, count):
            if page < 0:
                target.write(start, epg.hdr, at, n)
            elif page == epg.npgs:
                target.write(start, epg.trail, at, n)
            else:
                seen: Memory = self.window(page)
                try:
                    target.copy(start, seen, at, n)
                finally:
                    self.release_window(seen)
            start += n

    # Users.

    def ext_size(self) -> int:
        return int(self.epg.ext_size)

    def frags(self) -> int:
        return int(self.epg.frags())

    def bound(self) -> int:
        return int(self.epg.total())

    def refcnt(self) -> int:
        return self.root_or_self().users

    def is_writable(self) -> bool:
        return False

    def bytes_per_user(self) -> int:
        # Pages of a file are no frames.
        root = self.root_or_self()
        return len(self.frames) * PAGE_SIZE // max(root.users, 1)

    def describe(self, item: Item) -> Ext:
        root = self.root_or_self()
        embedded = root is self
        arg1 = None if root.free_cb is None else root.free_cb[1]
        return ext_class()(0, self.ext_size(), root.users, embedded, id(root), root.file, arg1)

    def defers(self, item: Item) -> bool:
        return self.root_or_self() is self and self.users > 1

    def counter(self) -> object:
        return self.root_or_self()

    def check_share(self) -> None:
        self.live_root()

    def make_sharer(self) -> Storage:
        made: Unmapped = Unmapped.__new__(Unmapped)
        made.supply = self.supply
        made.frames = ()
        made.file = made.root = made.tls = made.free_cb = None
        made.released = made.detached = False
        made.users = 0
        made._init_memory()
        made.epg = new_epg()
        return made

    def ref(self, item: Item, made: Storage) -> None:
        """In a commit: count one more user. Its mbuf refers to `made`, which gets the same pages and session."""
        root = self.root_or_self()
        sharer = cython.cast(Unmapped, made)
        sharer.root = root
        sharer.frames = self.frames
        sharer.file = self.file
        sharer.tls = self.tls
        sharer.epg.copy(self.epg)
        root.add_user(item)

    def add_user(self, item: Item) -> None:
        """In a commit, of a root: count one more user. `item` becomes the owner if there is none yet."""
        if self.owner is None:
            self.owner = item
        self.users += 1

    def unref(self, item: Item) -> None:
        root = self.root_or_self()
        if root is not self:
            # A freed handle may still refer to this object, which must not keep the pages.
            self.frames = ()
            self.file = self.tls = None
        root.remove_user(item)

    def detach_mbuf(self, item: Item) -> None:
        """In a commit: free the pages, whose only user is the mbuf of `item`, which lives on without them."""
        root = self.root_or_self()
        root.link = item
        root.detached = True
        release_later(root)

    def on_release(self) -> int:
        if not self.detached:
            Storage.on_release(self)
            return 0
        item: Item = cython.cast(Item, self.link)
        self.link = None
        owner: Item = item if self.owner is None else self.owner
        self.detached = False
        self.owner = None
        try:
            self.free_pages(owner)
        finally:
            if owner is not item:
                enter_commit()
                free_item(owner)
                leave_commit()
        return 0

    def remove_user(self, item: Item) -> None:
        """In a commit, of a root: count off the mbuf of `item`; for a `Mapped`, `item` is the owner's."""
        if self.users > 1:
            self.users -= 1
            if item is not self.owner:
                free_item(item)
        else:
            self.link = item
            release_later(self)

    def end(self, item: Item) -> None:
        """Free the pages after the last use. If a TLS session ends too, its worker gives back the item later."""
        owner = item if self.owner is None else self.owner
        last: Item | None = None if owner is item else item
        kept = False
        try:
            self.free_pages(owner)
            self.owner = None
            tls, self.tls = self.tls, None
            if tls is not None and not tls.release_if_not_last():
                self.epg.flags |= EPG_FLAG_2FREE
                deferred: DeferredFree = DeferredFree.__new__(DeferredFree)
                deferred.item = owner
                kept = True
                tls.enqueue_to_free(deferred)
        finally:
            enter_commit()
            if last is not None:
                free_item(last)
            if not kept:
                free_item(owner)
            leave_commit()

    def free_pages(self, owner: Item) -> None:
        """Free tags and pages; the free routine, if any, is called before the pages are freed."""
        try:
            try:
                free_tags(owner)
            finally:
                self.released = True
            if self.free_cb is not None and self.free_cb[0] is not None:
                self.free_cb[2](owner, self, self.free_cb[0])
        finally:
            self.free_cb = None
            frames, self.frames = self.frames, ()
            file, self.file = self.file, None
            self.epg.set_run(0, 0)
            enter_commit()
            for frame in frames:
                page: Item = frame
                free_item(page)
            leave_commit()
            run_releases()
            if file is not None:
                file.drop()


def unmapped(supply: Pages) -> Unmapped:
    """Return the storage of an mbuf of unmapped pages without a page; pages of memory come from `supply`."""
    made: Unmapped = Unmapped.__new__(Unmapped)
    made.init(supply)
    made.epg = new_epg()
    return made


def check_page_count(count: int, what: str) -> None:
    """Raise `Inval` for more pages than an mbuf can have."""
    if count > MBUF_PEXT_MAX_PGS:
        most = MBUF_PEXT_MAX_PGS * PAGE_SIZE
        raise Inval(f"{what}: {count} pages: an mbuf holds {MBUF_PEXT_MAX_PGS} pages, of {most} bytes")


def alloc_frames(supply: Pages, count: int, how: int, deadline: float | None) -> list[Any]:
    """Allocate `count` pages of memory: all, or none and an exception."""
    frames: list[Any] = [None] * count
    try:
        for n in range(count):
            frames[n] = supply.alloc(how, deadline)
    except BaseException:
        free_frames(frames)
        raise
    return frames


def free_frames(frames: list[Any]) -> None:
    """Free pages that were never used; None is no page."""
    enter_commit()
    for frame in frames:
        if frame is not None:
            page: Item = frame
            free_item(page)
    leave_commit()
    run_releases()
