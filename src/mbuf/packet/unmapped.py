"""Unmapped pages as the storage of mbufs: bytes that have no address until somebody asks for them.

Each mbuf has an object of its own, with its own `Epg`; those that share have a `root`, which counts them and
frees the pages when the last one lets go. Pages are memory, or pages of a file that are neither mapped nor
read before somebody touches their bytes. Never knows the mbufs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.packet.mbuf import Mbuf
    from mbuf.vm.pagefile import PageFile
else:
    from mbuf.shadow import cython

from mbuf.const import EPG_FLAG_2FREE, MBUF_PEXT_MAX_PGS, PAGE_SIZE
from mbuf.errors import Busy, Inval
from mbuf.packet.deferred_free import DeferredFree
from mbuf.packet.epg import Epg, blank
from mbuf.packet.ext import Ext, Storage
from mbuf.uma.item import Home, Item
from mbuf.uma.pages import Pages
from mbuf.vm.page import Memory, pane

if not cython.compiled:
    from mbuf.packet.ext import untag
    from mbuf.uma.item import send_home
    from mbuf.vm.commit import enter_commit, leave_commit, put, settle


@cython.no_gc
@cython.cclass
class Unmapped(Storage):
    """The unmapped pages of one mbuf. Made by `unmapped`, or by `share`."""

    #: `frames` are pages in memory, of which a sharer has those of its root and no say in them; `file` is
    #: whose pages they are, if a file's; `root` counts the users, None where that is this itself; `free_cb`
    #: is what to call in the end, its argument, and who shows it an mbuf.
    __slots__ = ("emptied", "epg", "file", "frames", "free_cb", "released", "root", "supply", "tls")
    emptied: bool
    epg: Epg
    file: PageFile | None
    frames: tuple[Item, ...]
    root: Unmapped | None
    tls: Any
    free_cb: tuple[Any, ...] | None
    released: bool

    def __init__(self) -> None:
        raise TypeError("unmapped pages are made by unmapped(supply)")

    def begin(self, supply: Pages) -> None:
        """Be the storage of one mbuf, without a page yet. See mb_alloc_ext_pgs."""
        self.supply = supply
        self.frames = ()
        self.file = self.root = self.tls = self.free_cb = None
        self.released = False
        self.emptied = False
        self.users = 1
        self._bare()

    def _bare(self) -> None:
        """A memory without bytes of its own."""
        self.clear()
        if not cython.compiled:
            self.run = self.owner = self.link = None
            self.home = cython.cast(Home, None)
            self.start = self.exports = self.type = 0
            self.fixed = self.held = self.gone = False

    def whole(self) -> Unmapped:
        return self if self.root is None else self.root

    def kept(self) -> Unmapped:
        """The root; `Inval` where its pages are about to go."""
        root = self.whole()
        if root.released:
            raise Inval("the pages are their owner's again: what a free routine gets can only be looked at")
        return root

    def call_on_free(self, free: Callable[[Mbuf], object] | None, arg1: Any, show: Callable[..., None]) -> None:
        """In the end, before the pages are freed, `show` calls `free`, if any, with an mbuf to look at."""
        if free is not None or arg1 is not None:
            self.free_cb = (free, arg1, show)

    # Pages.

    def add_frames(self, frames: tuple[Item, ...]) -> None:
        """Own some pages more, in memory; the caller has seen to it that they are few enough."""
        epg: Epg = self.epg
        numbers = epg.pages
        for frame in frames:
            numbers += (frame.run.page,)
        self.frames += frames
        epg.set_pages(numbers)

    def hold_file(self, file: PageFile, first: int, count: int) -> None:
        """Have `count` pages of a file, from page `first` on; a storage without a page may."""
        file.take()
        self.file = file
        self.epg.set_run(first, count)

    def in_file(self, off: int) -> int:
        """Which byte of the file byte `off` is; -1 where it isn't in a page of a file."""
        epg: Epg = self.epg
        at = off - len(epg.hdr)
        if self.file is None or at < 0 or at >= self.in_pages():
            return -1
        return epg.number(0) * PAGE_SIZE + epg.first_off + at

    def to_go(self, off: int, count: int) -> int:
        """Of `count` bytes from byte `off` on, those before the bytes in pages of a file begin, or end."""
        if self.file is None:
            return count
        head = len(self.epg.hdr)
        end = head + self.in_pages()
        if off < head:
            return min(count, head - off)
        return min(count, end - off) if off < end else count

    def in_pages(self) -> int:
        """Bytes in the pages."""
        epg: Epg = self.epg
        count = epg.total() - len(epg.hdr) - len(epg.trail)
        if epg.first_off + count > epg.npgs * PAGE_SIZE:
            raise Inval(f"epg: {count} bytes at {epg.first_off} of the pages: set first_off and last_len right")
        return count

    def window(self, page: int) -> Memory:
        """The bytes of a page; to be let go of with `leave`. `NoBufs` when no window is left."""
        if self.file is None:
            if page >= len(self.frames):
                raise Busy("the pages were freed while their bytes were looked at")
            frame: Memory = self.frames[page]
            return frame
        seen: Memory = self.file.window(self.epg.number(page))
        return seen

    def leave(self, seen: Any) -> None:
        """Look at a page no more, but for views that there still are."""
        if self.file is not None:
            self.file.windows.free(seen)

    def look(self, page: int, start: int, count: int, fixed: bool) -> memoryview:
        """A view of some bytes of a page, which keeps them."""
        seen: Memory = self.window(page)
        try:
            return pane(seen, start, count, fixed)
        finally:
            self.leave(seen)

    def views(self, off: int, count: int) -> list[memoryview]:
        """A view of each piece of `count` bytes from `off` on, for reading."""
        epg: Epg = self.epg
        found = []
        for page, start, n in epg.spans(off, count):
            if page < 0:
                found.append(memoryview(epg.hdr)[start : start + n])
            elif page == epg.npgs:
                found.append(memoryview(epg.trail)[start : start + n])
            else:
                found.append(self.look(page, start, n, True))
        return found

    def trade(self, other: Unmapped, pages: tuple[int, ...]) -> None:
        """In a commit: have the pages of `other`, of these numbers, which lie as these do; it has those of this one.

        The mbufs stay, and so does the session.
        """
        mine: Epg = self.epg
        its: Epg = other.epg
        its.copy(mine)
        mine.set_pages(pages)
        self.frames, other.frames = other.frames, self.frames
        self.file, other.file = other.file, self.file
        self.free_cb, other.free_cb = other.free_cb, self.free_cb

    # The bytes, as a memory's.

    def is_contiguous(self) -> bool:
        return False

    def _check(self, offset: int, count: int) -> None:
        # There are no bytes in a row; none of them may be touched wherever that is.
        if count:
            raise IndexError("the bytes are in unmapped pages, not in a row")

    def read(self, offset: int, count: int) -> bytes:
        """Copy bytes out, piece by piece. See m_unmappedtouio."""
        epg: Epg = self.epg
        parts = []
        for page, start, n in epg.spans(offset, count):
            if page < 0:
                parts.append(epg.hdr[start : start + n])
            elif page == epg.npgs:
                parts.append(epg.trail[start : start + n])
            else:
                seen: Memory = self.window(page)
                try:
                    parts.append(seen.read(start, n))
                finally:
                    self.leave(seen)
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
                    self.leave(seen)
            start += n

    # Users.

    def ext_size(self) -> int:
        return int(self.epg.ext_size)

    def frags(self) -> int:
        return int(self.epg.frags())

    def bound(self) -> int:
        return int(self.epg.total())

    def counted(self) -> int:
        return self.whole().users

    def sole(self) -> bool:
        return False

    def describe(self, item: Item) -> Ext:
        root = self.whole()
        embedded = root is self
        arg1 = None if root.free_cb is None else root.free_cb[1]
        return Ext(0, self.ext_size(), root.users, embedded, id(root), root.file, arg1)

    def defers(self, item: Item) -> bool:
        return self.whole() is self and self.users > 1

    def counter(self) -> object:
        return self.whole()

    def check_share(self) -> None:
        self.kept()

    def make_sharer(self) -> Storage:
        made: Unmapped = Unmapped.__new__(Unmapped)
        made.supply = self.supply
        made.frames = ()
        made.file = made.root = made.tls = made.free_cb = None
        made.released = made.emptied = False
        made.users = 0
        made._bare()
        made.epg = blank()
        return made

    def fits_sharer(self, made: Any) -> bool:
        if not isinstance(made, Unmapped):
            return False
        sharer: Unmapped = made
        return sharer.root is None and sharer.users == 0 and not sharer.released

    def join(self, item: Item, made: Storage) -> None:
        """As `Storage.join`; the mbuf holds `made`, which has the same pages."""
        root = self.whole()
        sharer = cython.cast(Unmapped, made)
        sharer.root = root
        sharer.frames = self.frames
        sharer.file = self.file
        sharer.tls = self.tls
        sharer.epg.copy(self.epg)
        root.take(item)

    def take(self, item: Item) -> None:
        """In a commit, of a root: one user more, beside the mbuf of `item`, the owner if there is none yet."""
        if self.owner is None:
            self.owner = item
        self.users += 1

    def unref(self, item: Item) -> None:
        root = self.whole()
        if root is not self:
            # The handle may last, and with it this. The root has them all.
            self.frames = ()
            self.file = self.tls = None
        root.release_pages(item)

    def leave_mbuf(self, item: Item) -> None:
        """In a commit: the mbuf of `item` uses the pages no more, and goes on without them; they have no other user."""
        root = self.whole()
        root.link = item
        root.emptied = True
        put(root)

    def let_go(self) -> int:
        if not self.emptied:
            Storage.let_go(self)
            return 0
        item: Item = cython.cast(Item, self.link)
        self.link = None
        owner: Item = item if self.owner is None else self.owner
        self.emptied = False
        self.owner = None
        try:
            self.empty(owner)
        finally:
            if owner is not item:
                enter_commit()
                send_home(owner)
                leave_commit()
        return 0

    def release_pages(self, item: Item) -> None:
        """In a commit, of a root: one user less, the mbuf of `item`; the owner, if the user had only one page."""
        if self.released:
            # What its own free routine has got.
            return
        if self.users > 1:
            self.users -= 1
            if item is not self.owner:
                send_home(item)
        else:
            self.link = item
            put(self)

    def end(self, item: Item) -> None:
        """Nobody uses the pages any more. A TLS session that ends too does so later: that may take its time."""
        owner = item if self.owner is None else self.owner
        last: Item | None = None if owner is item else item
        kept = False
        try:
            self.empty(owner)
            self.owner = None
            tls, self.tls = self.tls, None
            if tls is not None and not tls.release_if_not_last():
                self.epg.flags |= EPG_FLAG_2FREE
                remains: DeferredFree = DeferredFree.__new__(DeferredFree)
                remains.item = owner
                kept = True
                tls.enqueue_to_free(remains)
        finally:
            enter_commit()
            if last is not None:
                send_home(last)
            if not kept:
                send_home(owner)
            leave_commit()

    def empty(self, owner: Item) -> None:
        """Free the pages; before that, call the routine of whoever is to be told."""
        try:
            try:
                untag(owner)
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
                send_home(page)
            leave_commit()
            settle()
            if file is not None:
                file.drop()


def unmapped(supply: Pages) -> Unmapped:
    """The storage of an mbuf of unmapped pages, whose pages in memory come from `supply`."""
    made: Unmapped = Unmapped.__new__(Unmapped)
    made.begin(supply)
    made.epg = blank()
    return made


def few_enough(count: int, what: str) -> None:
    """Refuse more pages than an mbuf has place for."""
    if count > MBUF_PEXT_MAX_PGS:
        most = MBUF_PEXT_MAX_PGS * PAGE_SIZE
        raise Inval(f"{what}: an mbuf holds {MBUF_PEXT_MAX_PGS} pages, of {most} bytes, not {count}")


def take_frames(supply: Pages, count: int, how: int, deadline: float | None) -> list[Any]:
    """So many pages of memory, or none."""
    frames: list[Any] = [None] * count
    try:
        for n in range(count):
            frames[n] = supply.alloc(how, deadline)
    except BaseException:
        give_frames(frames)
        raise
    return frames


def give_frames(frames: list[Any]) -> None:
    """Give pages back that nobody has seen; None is no page."""
    enter_commit()
    for frame in frames:
        if frame is not None:
            page: Item = frame
            send_home(page)
    leave_commit()
    settle()
