"""External memory as storage: it is given back exactly once, however the mbufs that use it are freed."""

import ctypes
import gc
import io
import mmap
import sys
import weakref
from array import array
from collections.abc import Callable
from contextlib import suppress
from itertools import permutations
from typing import Any

import pytest

from interfaces import SndTagInterface
from mbuf import (
    EXT_DISPOSABLE,
    EXT_EXTREF,
    EXT_MOD_TYPE,
    EXT_NET_DRV,
    EXT_RXRING,
    EXT_SFBUF,
    M_PKTHDR,
    M_PROTO1,
    M_RDONLY,
    Busy,
    Freed,
    Inval,
    Mbuf,
    MbufError,
    Pool,
    ReadOnly,
    RefCount,
)
from mbuf.packet.external import External
from mbuf.testing.unchecked import put

#: The types whose storage has a free routine, and an embedded reference count.
OWNED = [EXT_NET_DRV, EXT_MOD_TYPE, EXT_DISPOSABLE, EXT_SFBUF]
WRITABLE: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(b"0123456789"),
    "a slice": lambda: memoryview(bytearray(b"..0123456789.."))[2:12],
    "a cast": lambda: memoryview(bytearray(b"0123456789")).cast("H"),
    "array": lambda: array("H", b"0123456789"),
    "ctypes": lambda: (ctypes.c_char * 10)(*b"0123456789"),
    "mmap": lambda: mapped(b"0123456789"),
}
FIXED: dict[str, Callable[[], Any]] = {
    "bytes": lambda: bytes(bytearray(b"0123456789")),
    "a read-only view": lambda: memoryview(bytearray(b"0123456789")).toreadonly(),
    "a slice of bytes": lambda: memoryview(bytes(bytearray(b"..0123456789..")))[2:12],
}


def mapped(data: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memory


class Owner:
    """Has memory for mbufs, and records the calls of its free routine."""

    def __init__(self, size: int = 64) -> None:
        self.memory = bytearray(size)
        self.seen: list[Any] = []

    def free(self, m: Mbuf) -> None:
        assert m.ext is not None
        self.seen.append((m.id, m.ext.count, m.ext.obj is self.memory, m.ext.arg1, m.ext.arg2))
        # It is not exported any more.
        self.memory += b"grown"

    def lend(self, m: Mbuf, type: int = EXT_NET_DRV) -> Mbuf:
        return m.extadd(self.memory, self.free, "one", "two", 0, type)


def filled(pool: Pool, owner: Owner, type: int = EXT_NET_DRV) -> Mbuf:
    m = owner.lend(pool.gethdr(), type)
    m.append(b"lent")
    return m


# Objects that can be storage.


@pytest.mark.parametrize("kind", WRITABLE)
def test_any_contiguous_buffer_can_be_storage(pool: Pool, kind: str) -> None:
    thing = WRITABLE[kind]()
    m = pool.gethdr().extadd(thing)
    assert (m.size, m.len, m.offset, m.writable, m.flags & M_RDONLY) == (10, 0, 0, True, 0)
    assert m.ext is not None
    assert (m.ext.obj is thing, m.ext.size, m.ext.count, m.ext.embedded) == (True, 10, 1, True)
    m.len = 10
    assert bytes(m.data) == b"0123456789"
    m.data[:2] = b"no"
    assert bytes(memoryview(thing).cast("B")) == b"no23456789"
    m.freem()
    if isinstance(thing, mmap.mmap):
        thing.close()


@pytest.mark.parametrize("kind", FIXED)
def test_what_is_for_reading_only_stays_so(pool: Pool, kind: str) -> None:
    thing = FIXED[kind]()
    m = pool.gethdr().extadd(thing)
    # The storage is read-only, but no flag is set: it would be copied to new mbufs.
    assert (m.size, m.writable, m.flags & M_RDONLY, m.trailing) == (10, False, 0, 0)
    m.len = 10
    assert (bytes(m.data), m.data.readonly) == (b"0123456789", True)
    m.freem()


class NotABuffer:
    """No buffer."""


@pytest.mark.parametrize(
    "thing",
    [memoryview(bytearray(10))[::2], memoryview(bytes(10))[::-1], NotABuffer(), None, 5, "text", [1, 2]],
    ids=["every other", "backwards", "no buffer", "None", "number", "text", "list"],
)
@pytest.mark.parametrize("add", ["extadd", "extaddref"])
def test_what_has_no_bytes_in_a_row_is_refused(pool: Pool, thing: Any, add: str) -> None:
    m = pool.gethdr().append(b"stays")
    refs = RefCount(3)
    with pytest.raises((TypeError, BufferError)):
        m.extadd(thing) if add == "extadd" else m.extaddref(thing, refs)
    assert (bytes(m), m.ext, m.flags, refs.count) == (b"stays", None, M_PKTHDR, 3)
    m.freem()


def test_memory_of_no_bytes_is_lent_and_comes_back(pool: Pool) -> None:
    owner = Owner(0)
    m = owner.lend(pool.gethdr())
    assert (m.size, m.trailing, m.leading, bytes(m), len(m.room)) == (0, 0, 0, b"", 0)
    n = m.copypacket()
    m.freem()
    n.freem()
    assert len(owner.seen) == 1
    assert owner.memory == b"grown"


def test_an_mbuf_with_a_length_beyond_its_memory_is_refused(pool: Pool) -> None:
    m = pool.gethdr().append(b"x" * 100)
    memory, refs = bytearray(99), RefCount()
    for add in (lambda: m.extadd(memory), lambda: m.extaddref(memory, refs), lambda: m.extadd(b"")):
        with pytest.raises(Inval, match="give 100 "):
            add()
    assert (bytes(m), m.ext, refs.count) == (b"x" * 100, None, 0)
    memory += b"!"
    m.extadd(memory)
    assert (m.len, bytes(m)) == (100, bytes(99) + b"!")
    m.freem()


def test_more_than_a_packet_can_say_is_refused(pool: Pool) -> None:
    # Never touched, so it takes no memory.
    vast = mmap.mmap(-1, 1 << 31, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0))
    m = pool.gethdr()
    with pytest.raises(Inval, match="2147483648 bytes"):
        m.extadd(vast)
    with pytest.raises(Inval, match="2147483648 bytes"):
        pool.wrap(vast)
    assert m.ext is None
    m.freem()
    vast.close()


def test_memory_is_held_in_place_for_as_long_as_it_is_lent(pool: Pool) -> None:
    memory = bytearray(10)
    m = pool.gethdr().extadd(memory)
    n = m.copypacket()
    m.freem()
    with pytest.raises(BufferError):
        memory.append(1)
    n.freem()
    memory.append(1)


def test_the_object_lives_for_as_long_as_it_is_lent(pool: Pool) -> None:
    gone: list[bool] = []

    class Memory(bytearray):
        def __del__(self) -> None:
            gone.append(True)

    m = pool.gethdr().extadd(Memory(10))
    gc.collect()
    assert gone == []
    m.freem()
    assert gone == [True]


def test_one_object_may_be_lent_to_several_mbufs_at_once(pool: Pool) -> None:
    memory = bytearray(b"abcdef")
    m, n = pool.get().extadd(memory), pool.get().extadd(memory)
    m.len = n.len = 6
    assert m.ext is not None
    assert n.ext is not None
    assert (m.ext.id == n.ext.id, m.refcnt, n.refcnt) == (True, 1, 1)
    m.data[0:1] = b"A"
    assert bytes(n) == b"Abcdef"
    m.free()
    with pytest.raises(BufferError):
        memory.append(1)
    n.free()
    memory.append(1)


# Calls of the free routine, and their arguments.


@pytest.mark.parametrize("type", [EXT_NET_DRV, EXT_SFBUF])
@pytest.mark.parametrize("order", [*permutations(range(4))], ids=str)
def test_the_free_routine_is_called_once_with_the_owner_whichever_user_is_last(
    make: Callable[..., Pool], type: int, order: tuple[int, ...]
) -> None:
    pool, owner = make(), Owner()
    m = filled(pool, owner, type)
    users: list[Any] = [m, m.copypacket(), m.copypacket()]
    users.append(users[1].copypacket())
    first = m.id
    del m
    for n in order:
        assert owner.seen == []
        assert bytes(users[n]) == b"lent"
        users[n].freem()
        users[n] = None
    assert owner.seen == [(first, 1, True, "one", "two")]
    assert pool.out == 0


@pytest.mark.parametrize("order", [*permutations(range(4))], ids=str)
def test_with_a_count_elsewhere_it_gets_the_last_user(make: Callable[..., Pool], order: tuple[int, ...]) -> None:
    pool, owner, refs = make(), Owner(), RefCount()
    m = pool.gethdr().extaddref(owner.memory, refs, owner.free, "one", "two")
    m.grow(4)
    users: list[Any] = [m, m.copypacket()]
    users += [users[1].copypacket(), pool.gethdr().extaddref(owner.memory, refs, owner.free, "one", "two")]
    del m
    last = users[order[3]].id
    for left, n in zip((4, 3, 2, 1), order, strict=True):
        assert refs.count == users[n].refcnt == left
        assert owner.seen == []
        users[n].freem()
        users[n] = None
        assert pool.out == left - 1
    assert owner.seen == [(last, 1, True, "one", "two")]
    assert refs.count == 1


@pytest.mark.parametrize("type", [EXT_DISPOSABLE, EXT_EXTREF])
@pytest.mark.parametrize("order", [*permutations(("owner", "sharer", "view", "other"))], ids=",".join)
def test_the_routine_waits_for_views(make: Callable[..., Pool], type: int, order: tuple[str, ...]) -> None:
    pool, owner = make(), Owner()
    m = filled(pool, owner, type)
    n = m.copypacket()
    things = {"owner": m, "sharer": n, "view": m.data, "other": n.data}
    del m, n
    for name in order:
        assert owner.seen == []
        thing = things.pop(name)
        assert bytes(thing) == b"lent"
        if isinstance(thing, memoryview):
            thing.release()
        else:
            thing.freem()
        del thing
        users = [left for left in things if left in ("owner", "sharer")]
        assert sum(zone.held for zone in pool.zones.all()) == bool(things and not users)
    assert [seen[1:] for seen in owner.seen] == [(1, True, "one", "two")]
    assert pool.out == 0


@pytest.mark.parametrize("type", [*OWNED, EXT_EXTREF])
def test_dropping_is_freeing(make: Callable[..., Pool], type: int) -> None:
    pool, owner = make(), Owner()
    m = filled(pool, owner, type)
    n = m.copypacket()
    del m
    gc.collect()
    assert owner.seen == []
    del n
    gc.collect()
    assert [seen[1:] for seen in owner.seen] == [(1, True, "one", "two")]
    assert (pool.out, pool.stat().drops) == (0, 2)


def test_a_slice_of_a_view_keeps_the_memory_too(make: Callable[..., Pool]) -> None:
    pool, owner = make(), Owner()
    m = filled(pool, owner)
    view = m.data
    part = view[1:3]
    m.freem()
    del m, view
    assert (bytes(part), owner.seen) == (b"en", [])
    del part
    assert len(owner.seen) == 1


@pytest.mark.parametrize("type", [*OWNED, EXT_EXTREF])
def test_the_routine_is_called_after_the_pool_was_closed(make: Callable[..., Pool], type: int) -> None:
    pool, owner = make(), Owner()
    m = filled(pool, owner, type)
    n = m.copypacket()
    view = n.data
    with pytest.warns(ResourceWarning, match="2 mbufs still out"):
        assert pool.close() == 2
    m.freem()
    n.freem()
    assert (owner.seen, bytes(view)) == ([], b"lent")
    view.release()
    assert (len(owner.seen), pool.out, pool.vm.used) == (1, 0, 0)


def test_a_receive_ring_has_no_routine(pool: Pool) -> None:
    memory = bytearray(10)
    m = pool.gethdr()
    with pytest.raises(Inval, match="None for EXT_RXRING"):
        m.extadd(memory, print, type=EXT_RXRING)
    m.extadd(memory, type=EXT_RXRING)
    n = m.copypacket()
    assert (m.refcnt, n.ext and n.ext.type) == (2, EXT_RXRING)
    m.freem()
    n.freem()
    memory.append(1)


@pytest.mark.parametrize("type", OWNED)
def test_no_routine_is_needed(pool: Pool, type: int) -> None:
    memory = bytearray(10)
    pool.get().extadd(memory, type=type).freem()
    memory.append(1)


# What a free routine may do.


def test_what_a_routine_raises_is_told_and_harms_nothing(pool: Pool, unraisable: list[BaseException]) -> None:
    def fail(m: Mbuf) -> None:
        raise KeyError(m)

    memory = bytearray(10)
    m = pool.gethdr().extadd(memory, fail)
    m.next = pool.get().extadd(memory, fail)
    n = m.copypacket()
    m.freem()
    assert list(map(type, unraisable)) == []
    n.freem()
    assert list(map(type, unraisable)) == [KeyError, KeyError]
    memory.append(1)


def test_what_a_routine_keeps_is_freed(pool: Pool) -> None:
    kept: list[Mbuf] = []
    m = pool.gethdr().extadd(bytearray(10), kept.append)
    m.freem()
    with pytest.raises(Freed):
        kept[0].ext  # noqa: B018
    del m
    fresh = [pool.gethdr() for _ in range(5)]
    assert all(m is not kept[0] for m in fresh)
    with pytest.raises(Freed):
        kept[0].free()
    pool.free_bulk(fresh)


def test_what_a_routine_gets_goes_by_itself(pool: Pool, unraisable: list[BaseException]) -> None:
    m = pool.gethdr().extadd(bytearray(10), lambda m: m.freem())
    n = m.copypacket()
    m.freem()
    n.freem()
    assert (pool.out, list(map(type, unraisable))) == (0, [Busy])


def test_nothing_that_a_routine_keeps_of_its_mbuf_can_be_used(pool: Pool) -> None:
    kept: list[Any] = []

    def keep(m: Mbuf) -> None:
        with pytest.raises(Busy, match="may only read it"):
            m.prepend(50)
        kept.extend((m, m.next))

    pool.init(flags=M_PKTHDR).extaddref(bytearray(100), RefCount(), keep).free()
    pool.gethdr().extadd(bytearray(100), keep).free()
    for m in kept[::2]:
        with pytest.raises(Freed):
            m.free()
    assert kept[1::2] == [None, None]


def test_a_routine_may_allocate_and_free_other_packets(pool: Pool) -> None:
    others = [pool.getcl().append(b"x") for _ in range(10)]
    others += [m.copypacket() for m in others]

    def busy(_: Mbuf) -> None:
        pool.free_bulk(others)
        for m in pool.getcl_bulk(20):
            m.free()
        others.append(pool.getcl().append(b"new"))

    m = pool.gethdr().extadd(bytearray(10), busy)
    m.copypacket().freem()
    m.freem()
    assert (pool.out, bytes(others[0])) == (1, b"new")
    others[0].free()


def test_a_routine_may_lend_the_memory_again(pool: Pool) -> None:
    memory = bytearray(b"again and again")
    times: list[Mbuf] = []

    def lend(_: Mbuf) -> None:
        if len(times) < 3:
            times.append(pool.wrap(memory))
            times[-1].detach()
            times[-1].extadd(memory, lend)
            memory_held()

    def memory_held() -> None:
        with pytest.raises(BufferError):
            memory.append(1)

    pool.gethdr().extadd(memory, lend).freem()
    while pool.out:
        times[-1].freem()
    assert len(times) == 3
    memory.append(1)


@pytest.mark.parametrize("last", ["owner", "sharer"])
@pytest.mark.parametrize(
    "verb",
    [
        lambda m, n: m.detach(),
        lambda m, n: (m.detach(), m.free()),
        lambda m, n: n.dupcl(m),
        lambda m, n: m.copym(0, 0) or m.copym(),
    ],
    ids=["detach", "detach and free", "dupcl", "copym"],
)
def test_what_a_routine_gets_is_there_to_be_looked_at(
    pool: Pool, unraisable: list[BaseException], verb: Callable[[Mbuf, Mbuf], object], last: str
) -> None:
    memory = bytearray(10)
    m, n = pool.get(), pool.get()
    m.extadd(memory, lambda m: verb(m, n))
    sharer = pool.get().dupcl(m)
    for user in (sharer, m) if last == "owner" else (m, sharer):
        user.free()
    assert list(map(type, unraisable)) in ([Inval], [Busy])
    assert (pool.out, n.ext) == (1, None)
    n.free()
    memory.append(1)


@pytest.mark.parametrize("last", ["owner", "sharer"])
@pytest.mark.parametrize(
    "verb",
    [
        lambda m, n: m.prepend(10),
        lambda m, n: m.append(b"x" * 500),
        lambda m, n: m.copyback(300, b"x"),
        lambda m, n: m.pullup(0),
        lambda m, n: m.move_pkthdr(n),
        lambda m, n: m.dup_pkthdr(n),
        lambda m, n: m.cat(n.copypacket()),
        lambda m, n: n.cat(m),
        lambda m, n: n.next.cat(m),
        lambda m, n: setattr(m, "next", n.copypacket()),
        lambda m, n: setattr(m, "nextpkt", n.copypacket()),
        lambda m, n: m.unshare(),
        lambda m, n: m.collapse(1),
        lambda m, n: m.split(0),
    ],
    ids=lambda verb: "",
)
@pytest.mark.filterwarnings("ignore:an mbuf from:ResourceWarning")
def test_whatever_else_a_routine_does_with_it_nothing_is_lost(
    make: Callable[..., Pool], verb: Callable[[Mbuf, Any], object], last: str
) -> None:
    pool, memory = make(), bytearray(10)

    other = pool.gethdr().append(b"other")
    other.tag_prepend(pool.tag_get(1))
    other.pkthdr.snd_tag = pool.snd_tag_alloc(SndTagInterface())
    other.next = pool.get()

    def routine(m: Mbuf, other: Mbuf = other) -> None:
        with suppress(MbufError):
            verb(m, other)

    m = pool.get().extadd(memory, routine)
    sharer = pool.get().dupcl(m)
    for user in (sharer, m) if last == "owner" else (m, sharer):
        user.free()
    del m, user, sharer, routine
    other.freem()
    del other
    assert (pool.out, pool.tags.count, pool.snd_tags.count) == (0, 0, 0)
    memory.append(1)


def test_a_routine_may_be_called_from_within_the_routine_of_another(pool: Pool) -> None:
    seen: list[int] = []
    inner = pool.get().extadd(bytearray(10), lambda m: seen.append(2))

    def outer(_: Mbuf) -> None:
        seen.append(1)
        inner.free()
        seen.append(3)

    pool.get().extadd(bytearray(10), outer).free()
    assert seen == [1, 2, 3]


def test_a_chain_of_lent_memory_is_freed_however_long(make: Callable[..., Pool]) -> None:
    """The object of each mbuf refers to the next packet: freeing doesn't recurse, compiled."""
    pool, seen = make(), []
    m = pool.get()
    for n in range(100):
        p = pool.get()
        p.extadd(bytearray(1), lambda _, n=n: seen.append(n))
        p.next = m
        m = p
    del p
    m.freem()
    assert seen == [*reversed(range(100))]


def test_an_object_with_a_finalizer_may_free_what_it_likes(pool: Pool) -> None:
    other = [pool.getcl().append(b"x")]

    class Memory(bytearray):
        def __del__(self) -> None:
            other.pop().free()

    m = pool.gethdr().extadd(Memory(10))
    m.freem()
    assert (other, pool.out) == ([], 0)


# Reference counts outside of mbufs.


def test_several_memories_may_have_one_count(pool: Pool) -> None:
    refs, memories, seen = RefCount(), [bytearray(10) for _ in range(3)], []
    users = [
        pool.get().extaddref(memory, refs, lambda m: seen.append(m.ext.obj))
        for memory in memories  # type: ignore[union-attr]
    ]
    users.append(pool.get().dupcl(users[0]))
    assert (refs.count, [m.refcnt for m in users]) == (4, [4] * 4)
    assert not any(m.writable for m in users)
    users[1].free()
    # It has no user any more, but its free routine isn't called yet.
    memories[1].append(1)
    users[0].free()
    with pytest.raises(BufferError):
        memories[0].append(1)
    users[3].free()
    memories[0].append(1)
    assert (seen, refs.count, users[2].writable) == ([], 1, True)
    users[2].free()
    assert (seen[0] is memories[2], len(seen), refs.count) == (True, 1, 1)
    memories[2].append(1)


def test_memory_under_a_shared_count_is_held_while_it_is_looked_at(pool: Pool) -> None:
    refs, memory = RefCount(), bytearray(b"seen")
    m, n = pool.get().extaddref(memory, refs), pool.get().extaddref(bytearray(1), refs)
    m.len = 4
    view = m.data
    m.free()
    with pytest.raises(BufferError):
        memory.append(1)
    assert (bytes(view), refs.count, pool.zones.mbuf.held) == (b"seen", 1, 0)
    view.release()
    memory.append(1)
    n.free()


def test_a_use_of_ones_own_keeps_the_routine_waiting(pool: Pool) -> None:
    refs, memory, seen = RefCount(1), bytearray(10), []
    for _ in range(3):
        m = pool.get().extaddref(memory, refs, seen.append)
        assert (refs.count, m.writable) == (2, False)
        m.free()
        assert (refs.count, seen) == (1, [])
        memory.append(1)


@pytest.mark.parametrize("count", [-1, 2**32 - 1, 2**32, 2**63, 2**64])
def test_a_count_has_32_bits(count: int) -> None:
    with pytest.raises(Inval):
        RefCount(count)


@pytest.mark.parametrize("count", [1.5, None, "1"])
def test_a_count_is_a_number(count: Any) -> None:
    with pytest.raises(TypeError):
        RefCount(count)


def test_more_uses_than_a_count_can_tell_are_refused(pool: Pool) -> None:
    refs, memory, other = RefCount(2**32 - 2), bytearray(b"abc"), bytearray(b"def")
    m, n = pool.get().extaddref(memory, refs), pool.get()
    m.len = 3
    assert refs.count == 2**32 - 1
    with pytest.raises(Inval, match="uses at most"):
        n.dupcl(m)
    with pytest.raises(Inval, match="uses at most"):
        n.extaddref(other, refs)
    assert (n.ext, m.refcnt, bytes(m)) == (None, 2**32 - 1, b"abc")
    other.append(1)
    m.free()
    n.free()
    assert refs.count == 2**32 - 2


@pytest.mark.parametrize("refs", [None, 1, object()])
def test_extaddref_needs_a_count(pool: Pool, refs: Any) -> None:
    m = pool.get()
    with pytest.raises(Inval, match="RefCount"):
        m.extaddref(bytearray(1), refs)
    assert m.ext is None
    m.free()


def test_extref_without_a_count_has_one_of_its_own(pool: Pool) -> None:
    owner = Owner()
    m = owner.lend(pool.gethdr(), EXT_EXTREF)
    n = m.copypacket()
    assert m.ext is not None
    assert n.ext is not None
    assert (m.refcnt, m.ext.embedded, n.ext.embedded, n.ext.arg1) == (2, False, False, "one")
    last = n.id
    m.freem()
    assert pool.out == 1
    n.freem()
    assert [seen[0] for seen in owner.seen] == [last]


# Read-only bytes never change.


WRITES: dict[str, Callable[[Pool, Mbuf], object]] = {
    "data": lambda pool, m: m.data.__setitem__(slice(0, 2), b"no"),
    "room": lambda pool, m: (setattr(m, "len", 4), m.room.__setitem__(slice(0, 2), b"no")),
    "views": lambda pool, m: next(iter(m)).__setitem__(slice(0, 2), b"no"),
    "apply": lambda pool, m: m.apply(0, 2, lambda view: view.__setitem__(slice(0, 2), b"no")),
    "pack": lambda pool, m: m.pack("2s", 0, b"no"),
    "copyback": lambda pool, m: m.copyback(0, b"no"),
    "copyback over the end": lambda pool, m: (setattr(m, "len", 4), m.copyback(4, b"no")),
    "append": lambda pool, m: (setattr(m, "len", 4), m.append(b"no")),
    "fill": lambda pool, m: (setattr(m, "len", 4), m.fill(b"no", 0, 2)),
    "grow": lambda pool, m: (setattr(m, "len", 4), m.grow(1)),
    "prepend": lambda pool, m: (m.adj(4), m.prepend(2), m.pack("2s", 0, b"no")),
    "put": lambda pool, m: put(m, 0, b"no"),
    "cat": lambda pool, m: (setattr(m, "len", 4), m.cat(pool.get().append(b"no"))),
    "pullup": lambda pool, m: (m.pullup(6), m.data.__setitem__(0, 0)),
    "pulldown": lambda pool, m: m.pulldown(2, 4)[0].data.__setitem__(0, 0),
    "makespace": lambda pool, m: m.makespace(3, 5),
    "collapse": lambda pool, m: (m.append(b"more"), m.collapse(1)),
    "unshare": lambda pool, m: m.unshare(),
    "defrag": lambda pool, m: m.defrag(),
    "compact": lambda pool, m: m.compact(),
    "fragment": lambda pool, m: m.fragment(2),
    "align": lambda pool, m: (setattr(m, "len", 0), m.align(2), m.append(b"no")),
    "split": lambda pool, m: m.split(4).append(b"no"),  # type: ignore[union-attr]
    "memoryview": lambda pool, m: memoryview(m).__setitem__(slice(0, 2), b"no"),
    "recv_into": lambda pool, m: bytearray_into(m),
}
FREED_FROM: dict[str, Callable[[Pool, Mbuf], object]] = {
    "as it is": lambda pool, m: None,
    "flag cleared": lambda pool, m: setattr(m, "flags", m.flags & ~M_RDONLY),
    "header moved here": lambda pool, m: m.move_pkthdr(pool.gethdr()),
    "header copied here": lambda pool, m: dup_from(pool, m),
    "header gone": lambda pool, m: m.demote_pkthdr(),
    "demoted": lambda pool, m: (setattr(m, "flags", m.flags & ~M_RDONLY), m.demote(True)),
    "shared": lambda pool, m: (m.copypacket(), setattr(m, "flags", m.flags & ~M_RDONLY)),
}


def bytearray_into(m: Mbuf) -> None:
    io.BytesIO(b"no").readinto(m)  # type: ignore[arg-type]


def dup_from(pool: Pool, m: Mbuf) -> None:
    n = pool.gethdr()
    m.dup_pkthdr(n)
    n.freem()


LENT: dict[str, Callable[[Pool, bytes], Mbuf]] = {
    "extadd": lambda pool, thing: pool.gethdr().extadd(thing, type=EXT_DISPOSABLE),
    "extaddref": lambda pool, thing: pool.gethdr().extaddref(thing, RefCount()),
    "wrap": lambda pool, thing: pool.wrap(thing),
    "a copy": lambda pool, thing: copied(pool.wrap(thing)),
}


def copied(m: Mbuf) -> Mbuf:
    n = m.copypacket()
    m.freem()
    return n


@pytest.mark.parametrize("lent", LENT)
@pytest.mark.parametrize("write", WRITES)
def test_no_verb_writes_to_bytes(make: Callable[..., Pool], write: str, lent: str) -> None:
    pool = make()
    for free_from in FREED_FROM:
        writes_to_bytes(pool, write, free_from, lent)


def writes_to_bytes(pool: Pool, write: str, free_from: str, lent: str) -> None:
    thing = bytes(bytearray(b"0123456789"))
    m = LENT[lent](pool, thing)
    m.len = m.pkthdr.len = 10
    kept = [FREED_FROM[free_from](pool, m)]
    if m.flags & M_PKTHDR:
        m.pkthdr.len = 10
    assert not m.writable
    with suppress(ReadOnly, Inval, TypeError, BufferError):
        kept.append(WRITES[write](pool, m))
    assert thing == b"0123456789"
    if "freed" not in repr(m):
        m.freem()
    del m, kept
    gc.collect()
    assert (pool.out, thing) == (0, b"0123456789")


def test_a_copy_of_read_only_bytes_can_be_written(pool: Pool) -> None:
    thing = bytes(bytearray(b"0123456789"))
    m = pool.wrap(thing)
    n = m.dup()
    n.data[:2] = b"no"
    assert (bytes(n), bytes(m), thing) == (b"no23456789", b"0123456789", b"0123456789")
    m.freem()
    n.freem()


def test_read_only_by_flag_alone_can_be_cleared(pool: Pool) -> None:
    memory = bytearray(b"0123456789")
    m = pool.gethdr().extadd(memory, flags=M_RDONLY | M_PROTO1)
    m.len = 10
    assert (m.flags & (M_RDONLY | M_PROTO1), m.writable, m.data.readonly) == (M_RDONLY | M_PROTO1, False, True)
    m.flags &= ~M_RDONLY
    m.data[:2] = b"ok"
    m.freem()
    assert memory == b"ok23456789"


def test_shared_bytes_cannot_be_written_until_they_are_unshared(pool: Pool) -> None:
    m = filled(pool, Owner())
    n = m.copypacket()
    assert (m.writable, n.writable, m.trailing, n.trailing) == (False, False, 0, 0)
    m.freem()
    assert (n.writable, n.trailing) == (True, 60)
    n.freem()


# Tags of an owner that was freed before the last user: NOTES.md, 6.


@pytest.mark.parametrize("way", ["free", "drop"])
def test_an_owners_tags_stay_until_the_last_user_goes_its_send_tag_does_not(
    make: Callable[..., Pool], way: str
) -> None:
    pool, owner, card = make(), Owner(), SndTagInterface()
    m = filled(pool, owner)
    n = pool.get().dupcl(m)
    m.tag_prepend(pool.tag_get(1, b"four"))
    m.tag_prepend(pool.tag_alloc(7, 2))
    m.pkthdr.snd_tag = pool.snd_tag_alloc(card)
    if way == "free":
        m.free()
    del m
    assert (pool.tags.count, pool.snd_tags.count, card.refs, pool.out) == (2, 0, 0, 2)
    n.free()
    assert (pool.tags.count, pool.out, len(owner.seen)) == (0, 0, 1)


def test_a_sharers_tags_go_with_it(pool: Pool) -> None:
    m = filled(pool, Owner())
    n = m.copypacket()
    n.tag_prepend(pool.tag_get(1))
    n.freem()
    assert pool.tags.count == 0
    m.freem()


def test_the_tags_of_the_last_user_of_a_shared_count_go_with_it(pool: Pool) -> None:
    m = filled(pool, Owner(), EXT_EXTREF)
    n = m.copypacket()
    m.tag_prepend(pool.tag_get(1))
    m.freem()
    assert pool.tags.count == 0
    n.freem()


def test_an_owners_tags_are_gone_before_the_routine_is_called(pool: Pool) -> None:
    seen: list[int] = []
    m = pool.gethdr().extadd(bytearray(10), lambda m: seen.append(pool.tags.count))
    n = pool.get().dupcl(m)
    m.tag_prepend(pool.tag_get(1))
    m.free()
    view = n.data
    n.free()
    assert (pool.tags.count, seen) == (1, [])
    view.release()
    assert (pool.tags.count, seen) == (0, [0])


def test_an_owners_tags_go_when_the_last_user_takes_the_memory_away(pool: Pool) -> None:
    m = filled(pool, Owner())
    n = pool.get().dupcl(m)
    m.tag_prepend(pool.tag_get(1))
    m.free()
    assert pool.tags.count == 1
    n.detach()
    assert (pool.tags.count, pool.out) == (0, 1)
    n.free()


@pytest.mark.parametrize("verb", [lambda m: m.prepend(20), lambda m: m.pullup(3), lambda m: m.copyup(3, 8)])
@pytest.mark.parametrize("first", ["head", "sharer"])
def test_a_head_that_got_another_body_leaves_the_owner_where_it_was(
    make: Callable[..., Pool], verb: Callable[[Mbuf], object], first: str
) -> None:
    pool, owner = make(), Owner()
    m = filled(pool, owner).append(b"." * 60)
    item = m.id
    n = m.copypacket()
    verb(m)
    assert m.id != item
    assert m.next is not None
    assert m.next.id == item
    assert n.ext is not None
    assert (m.next.refcnt, n.ext.embedded, m.next.ext and m.next.ext.embedded) == (2, False, True)
    assert bytes(m)[-64:] == b"lent" + b"." * 60
    for user in (m, n) if first == "head" else (n, m):
        assert owner.seen == []
        user.freem()
    assert owner.seen == [(item, 1, True, "one", "two")]


# M_NOFREE mbufs.


@pytest.mark.parametrize("order", ["first", "last"])
def test_an_mbuf_without_a_zone_goes_nowhere_and_its_tags_at_once(make: Callable[..., Pool], order: str) -> None:
    pool, memory = make(), bytearray(10)
    m = pool.init(flags=M_PKTHDR).extadd(memory, type=EXT_RXRING)
    n = pool.get().dupcl(m)
    m.tag_prepend(pool.tag_get(1))
    assert (pool.out, m.refcnt) == (1, 2)
    if order == "last":
        n.free()
    m.free()
    assert pool.tags.count == 0
    if order == "first":
        n.free()
    assert (pool.out, pool.zones.mbuf.used) == (0, 0)
    memory.append(1)


# Two objects.


@pytest.mark.parametrize("type", [EXT_NET_DRV, EXT_EXTREF])
def test_threads_may_free_sharers_at_once(
    make: Callable[..., Pool], spawn: Callable[[Callable[[], object]], Any], type: int
) -> None:
    pool, owner = make(ncpu=2), Owner()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for n in range(50):
            m = filled(pool, owner, type)
            packets = [[m], []]
            for i in range(40):
                packets[i % 2].append(m.copypacket())
            del m

            def free(mine: list[Mbuf] = None) -> None:  # type: ignore[assignment]
                while mine:
                    mine.pop().freem()

            for worker in [spawn(lambda mine=mine: free(mine)) for mine in packets]:
                worker.done()
            assert (len(owner.seen), pool.out) == (n + 1, 0)
    finally:
        sys.setswitchinterval(before)


# detach.


def test_detach_gives_the_object_back_and_calls_nothing(pool: Pool) -> None:
    owner = Owner()
    m = filled(pool, owner)
    m.flags |= M_RDONLY
    assert m.detach() is owner.memory
    owner.memory.append(1)
    assert (owner.seen, m.ext, m.len, m.pkthdr.len, m.size, m.offset, m.writable) == ([], None, 0, 0, 168, 0, True)
    assert bytes(m.append(b"usable")) == b"usable"
    assert bytes(pool.clget(m.adj(6)).append(b"again")) == b"again"
    m.freem()
    assert owner.seen == []


def test_detach_counts_its_bytes_out_of_the_packet(pool: Pool) -> None:
    owner = Owner()
    m = filled(pool, owner)
    m.next = pool.get().append(b"rest")
    m.pkthdr.len = 8
    m.detach()
    assert (m.pkthdr.len, bytes(m)) == (4, b"rest")
    m.len = 0
    m.extadd(owner.memory)
    m.len = 10
    m.detach()
    # A header length that was too low stops at 0.
    assert m.pkthdr.len == 0
    m.freem()


@pytest.mark.parametrize("type", OWNED)
def test_detach_is_refused_while_the_memory_is_shared_or_viewed(pool: Pool, type: int) -> None:
    owner = Owner()
    m = filled(pool, owner, type)
    n = m.copypacket()
    for user in (m, n):
        with pytest.raises(Busy, match="2 mbufs use"):
            user.detach()
    n.freem()
    view = m.data
    with pytest.raises(Busy, match="there is a view"):
        m.detach()
    assert (bytes(m), bytes(view), m.refcnt) == (b"lent", b"lent", 1)
    view.release()
    assert m.detach() is owner.memory
    m.freem()


def test_a_sharer_left_alone_may_detach(make: Callable[..., Pool]) -> None:
    pool, owner = make(), Owner()
    m = filled(pool, owner)
    n = m.copypacket()
    m.freem()
    assert pool.out == 2
    assert n.detach() is owner.memory
    assert (pool.out, owner.seen) == (1, [])
    n.freem()


@pytest.mark.parametrize("count", [0, 1])
def test_detach_is_refused_where_uses_are_counted_elsewhere(pool: Pool, count: int) -> None:
    m = pool.get().extaddref(bytearray(10), RefCount(count))
    with pytest.raises(Busy, match="a RefCount counts"):
        m.detach()
    m.free()


@pytest.mark.parametrize("make_one", ["get", "gethdr", "getcl", "getjcl"])
def test_detach_needs_external_memory(pool: Pool, make_one: str) -> None:
    m = getattr(pool, make_one)().append(b"own")
    with pytest.raises(Inval, match="extadd"):
        m.detach()
    assert bytes(m) == b"own"
    m.free()
    with pytest.raises(Freed):
        m.detach()


def test_detached_memory_can_be_lent_again(pool: Pool) -> None:
    owner = Owner()
    m = owner.lend(pool.gethdr())
    for _ in range(3):
        memory = m.detach()
        m.extadd(memory, owner.free)
    m.freem()
    assert len(owner.seen) == 1


# Errors of extadd.


@pytest.mark.parametrize("type", [0, 1, 3, 6, 7, 224, 244, 256, -1, 2**31, 2**32, 2**63, -(2**63) - 1])
def test_only_types_that_can_be_freed_again_are_taken(pool: Pool, type: int) -> None:
    memory = bytearray(1)
    m = pool.get()
    with pytest.raises(Inval, match="type"):
        m.extadd(memory, type=type)
    assert m.ext is None
    memory.append(1)
    m.free()


@pytest.mark.parametrize("bad", [1.5, 252.0, None, "252", []])
def test_a_type_and_flags_are_numbers(pool: Pool, bad: Any) -> None:
    m = pool.get()
    for words in ({"type": bad}, {"flags": bad}):
        with pytest.raises(TypeError):
            m.extadd(bytearray(1), **words)
    assert m.ext is None
    m.free()


@pytest.mark.parametrize("flags", [-1, M_PKTHDR, 1, 0x100, 0x200, 1 << 24, 2**31, 2**32, 2**63])
def test_flags_that_say_how_an_mbuf_is_built_are_refused(pool: Pool, flags: int) -> None:
    m = pool.get()
    with pytest.raises(Inval, match="flags"):
        m.extadd(bytearray(1), flags=flags)
    assert (m.ext, m.flags) == (None, 0)
    m.free()


@pytest.mark.parametrize("free", [1, "free", b"", ()])
def test_a_routine_can_be_called(pool: Pool, free: Any) -> None:
    m = pool.get()
    with pytest.raises(Inval, match="free: give a callable"):
        m.extadd(bytearray(1), free)
    with pytest.raises(Inval, match="free: give a callable"):
        m.extaddref(bytearray(1), RefCount(), free)
    assert m.ext is None
    m.free()


@pytest.mark.parametrize("first", ["getcl", "getjcl"])
def test_an_mbuf_with_storage_takes_no_other(pool: Pool, first: str) -> None:
    m = getattr(pool, first)()
    memory = bytearray(1)
    with pytest.raises(Inval, match="external storage already"):
        m.extadd(memory)
    memory.append(1)
    m.free()
    m = pool.get().extadd(memory)
    for again in (lambda: m.extadd(memory), lambda: m.extaddref(memory, RefCount()), lambda: pool.clget(m)):
        with pytest.raises(Inval, match="external storage already"):
            again()
    m.free()
    with pytest.raises(Freed):
        m.extadd(memory)


# The class itself, which users don't make.


@pytest.mark.parametrize("arguments", [(), (None,), (None, 1, None), (1, 2, 3, 4), (b"x", 1, None, None)])
def test_external_storage_is_not_made_by_hand(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        External(*arguments)


def test_what_others_count_is_not_kept_by_an_mbuf_that_was_freed(pool: Pool) -> None:
    class Bytes(bytearray):
        """Can be referred to weakly."""

    refs, buffer = RefCount(1), Bytes(100)
    gone = weakref.ref(buffer)
    m = pool.get().extaddref(buffer, refs)
    del buffer
    m.free()
    assert (gone(), refs.count) == (None, 1)


def test_a_count_of_uses_is_made_once() -> None:
    refs = RefCount(3)
    with pytest.raises(Inval, match="a RefCount can't be initialized again"):
        refs.__init__(2)  # type: ignore[misc]
    assert refs.count == 3


@pytest.mark.parametrize("verb", ["segment", "copym"])
def test_a_refcount_doesnt_overflow_where_several_users_are_counted_at_once(
    make: Callable[..., Pool], verb: str
) -> None:
    pool, most = make(), (1 << 32) - 2
    memory, refs = bytearray(b"several users" * 100), RefCount(most - 2)
    m = pool.gethdr().extaddref(memory, refs)
    m.next = pool.get().extaddref(memory, refs)
    m.len = m.next.len = 1300
    m.fixhdr()
    assert refs.count == most
    made: Any = m.segment(500) if verb == "segment" else m.copym()
    packets = made if isinstance(made, list) else [m, made]
    assert refs.count > most
    assert b"".join(map(bytes, packets[1:])) == bytes(memory * 2)[500 * (verb == "segment") :]
    pool.free_bulk(packets)
    assert refs.count == most - 2
    assert pool.out == 0
    pool.audit()
