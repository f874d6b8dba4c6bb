"""Unmapped pages as storage: their users, and what happens when the last one is freed."""

import gc
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from chains import sample
from mbuf import (
    M_EXT,
    M_EXTPG,
    M_PKTHDR,
    M_RDONLY,
    PAGE_SIZE,
    Busy,
    Freed,
    Inval,
    Mbuf,
    MbufError,
    Pool,
    Vm,
)
from mbuf.packet.deferred_free import DeferredFree
from mbuf.packet.unmapped import Unmapped
from packet.layouts import file_mbufs


class Owner:
    """Has a free routine for pages, which records its calls."""

    def __init__(self, then: Callable[[Mbuf], object] = lambda m: None) -> None:
        self.seen: list[Any] = []
        self.then = then

    def free(self, m: Mbuf) -> None:
        assert m.ext is not None
        self.seen.append((m.id, m.flags, m.epg.npgs, m.epg.hdr, m.ext.count, m.ext.embedded, m.ext.arg1))
        self.then(m)

    def make(self, pool: Pool, pages: int = 2) -> Mbuf:
        m = pool.alloc_ext_pgs(free=self.free, arg1="one").addpages(pages)
        m.epg.hdr = b"head"
        m.epg.last_len = min(pages, 1) * 10
        m.len = m.epg.total()
        return m


def test_there_is_none_by_itself() -> None:
    for cls in (Unmapped, DeferredFree):
        with pytest.raises(TypeError):
            cls()


# Fields.


def test_a_new_one_is_said_to_be_what_it_is(pool: Pool) -> None:
    m = pool.alloc_ext_pgs()
    assert (m.flags, m.len, m.offset, m.size) == (M_EXT | M_EXTPG | M_RDONLY, 0, 0, 0)
    assert (m.writable, m.leading, m.trailing, m.refcnt) == (False, 0, 0, 1)
    ext = m.ext
    # The kernel leaves the type uninitialised.
    assert (ext.type, ext.size, ext.count, ext.embedded, ext.obj, ext.arg1, ext.arg2) == (
        0,
        0,
        1,
        True,
        None,
        None,
        None,
    )
    assert (bytes(m), list(m), len(m)) == (b"", [], 0)
    m.free()


def test_no_length_can_be_set_beyond_the_bytes_that_there_are(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(PAGE_SIZE)
    m.epg.last_len = 100
    m.len = 100
    for bad in (101, -1, 2**31, 2**63):
        with pytest.raises(Inval, match="0 to 100"):
            m.len = bad
    m.adj(40)
    assert (m.len, m.offset) == (60, 40)
    with pytest.raises(Inval, match="0 to 60"):
        m.len = 61
    m.free()


def test_bytes_that_are_not_contiguous_have_no_view_and_no_room(pool: Pool) -> None:
    m = pool.frombytes(sample(100), flags=M_EXTPG)
    with pytest.raises(Inval, match=r"in unmapped pages.*iterate, or call copydata\(\) or unmapped_to_ext\(\)"):
        _ = m.data
    with pytest.raises((BufferError, TypeError)):  # uncompiled, before Python 3.12, no object of ours lends its bytes
        memoryview(m)
    with pytest.raises(MbufError):
        _ = m.room
    assert bytes(m) == b"".join(m) == sample(100)
    m.free()


# Users.


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_pages_go_with_the_last_user_and_the_owner_lingers(pool: Pool, order: tuple[int, ...]) -> None:
    owner = Owner()
    m = owner.make(pool)
    users: list[Any] = [m, m.copym()]
    users.append(users[1].copym())
    who = m.id
    assert [(n.refcnt, n.ext.embedded, n.ext.arg1) for n in users] == [
        (3, True, "one"),
        (3, False, "one"),
        (3, False, "one"),
    ]
    assert len({n.ext.id for n in users}) == 1
    del m
    for left, n in zip((2, 1, 0), order, strict=True):
        assert owner.seen == []
        users[n].free()
        alive = [k for k in range(3) if k not in order[: order.index(n) + 1]]
        # A freed owner stays in use until its last user is freed.
        assert pool.out == (left + (0 not in alive) if left else 0)
        assert pool.pages.used == (2 if left else 0)
        for k in alive:
            assert (users[k].refcnt, bytes(users[k])) == (left, b"head" + bytes(users[k])[4:])
    assert owner.seen == [(who, M_EXT | M_EXTPG | M_RDONLY, 2, b"head", 1, True, "one")]


def test_each_user_has_fields_of_its_own(pool: Pool) -> None:
    m = pool.frombytes(sample(100), flags=M_EXTPG)
    n = m.copym()
    n.epg.nrdy, n.epg.seqno, n.epg.hdr = 3, 9, b"x"
    assert (m.epg.nrdy, m.epg.seqno, m.epg.hdr) == (0, 0, b"")
    assert m.epg.pages == n.epg.pages
    m.free()
    n.free()


@pytest.mark.parametrize("storage", ["memory", "file"])
def test_pages_that_are_shared_can_be_looked_at_and_not_written(pool: Pool, storage: str) -> None:
    m = pool.frombytes(sample(100), flags=M_EXTPG) if storage == "memory" else file_mbufs(pool, sample(100), 0)
    alone = m.page(0)
    assert alone.readonly == (storage == "file")
    n = m.copym()
    for user in (m, n):
        with user.page(0) as view:
            assert (view.readonly, bytes(view[:100])) == (True, sample(100))
    n.free()
    with m.page(0) as view:
        assert view.readonly == (storage == "file")
    alone.release()
    m.free()


@pytest.mark.parametrize("storage", ["memory", "file"])
@pytest.mark.parametrize("look", ["page", "iter"])
def test_a_view_keeps_a_page_that_was_freed(pool: Pool, storage: str, look: str) -> None:
    m = pool.frombytes(sample(100), flags=M_EXTPG) if storage == "memory" else file_mbufs(pool, sample(100), 0)
    view: Any = m.page(0) if look == "page" else next(iter(m))
    m.free()
    assert (pool.out, bytes(view[:100])) == (0, sample(100))
    assert (pool.pages.used, pool.pages.held, pool.sfbufs.used) == ((1, 1, 0) if storage == "memory" else (0, 0, 1))
    other = pool.frombytes(b"x" * 100, flags=M_EXTPG)
    assert bytes(view[:100]) == sample(100)
    other.free()
    view.release()
    del view
    assert (pool.pages.used, pool.pages.held, pool.sfbufs.used) == (0, 0, 0)


def test_a_view_may_go_together_with_its_pool() -> None:
    pool = Pool(vm=Vm(64 * PAGE_SIZE), worker=False)
    m = pool.alloc_ext_plus_pages(2 * PAGE_SIZE)
    circle: list[Any] = [pool, m.page(0), m.page(1)]
    circle.append(circle)
    m.free()
    del pool, m, circle
    gc.collect()


def test_dropping_is_freeing(make: Callable[..., Pool]) -> None:
    pool = make()
    owner = Owner()
    m = pool.gethdr().cat(owner.make(pool)).cat(file_mbufs(pool, sample(100), 0))
    n = m.next.copym(0, 4)
    del m
    gc.collect()
    assert (pool.out, pool.pages.used, pool.stat().drops, owner.seen) == (2, 2, 3, [])
    del n
    gc.collect()
    assert (pool.out, pool.pages.used, pool.stat().drops, len(owner.seen)) == (0, 0, 4, 1)


# Free routines.


@pytest.mark.parametrize("pages", [0, 1, 5])
def test_the_free_routine_is_called_once_and_can_read_the_fields(pool: Pool, pages: int) -> None:
    owner = Owner()
    m = owner.make(pool, pages)
    who = m.id
    m.freem()
    assert owner.seen == [(who, M_EXT | M_EXTPG | M_RDONLY, pages, b"head", 1, True, "one")]
    with pytest.raises(Freed):
        m.free()


@pytest.mark.parametrize("free", [5, "free", b"", object()])
def test_only_what_can_be_called_is_a_routine(pool: Pool, free: Any) -> None:
    with pytest.raises(Inval, match="free must be a function"):
        pool.alloc_ext_pgs(free=free)
    assert pool.out == 0


def test_a_routine_that_raises_loses_nothing(pool: Pool, unraisable: list[BaseException]) -> None:
    def fail(m: Mbuf) -> None:
        raise KeyError

    owner = Owner(fail)
    m = owner.make(pool)
    n = m.copym()
    pool.free_bulk([m, n])
    gc.collect()
    assert (list(map(type, unraisable)), len(owner.seen), pool.out, pool.pages.used) == ([KeyError], 1, 0, 0)


NASTY: dict[str, Callable[[Mbuf], Any]] = {
    "free": lambda m: m.free(),
    "freem": lambda m: m.freem(),
    "copym": lambda m: m.copym(),
    "split": lambda m: m.split(2),
    "to_ext": lambda m: m.unmapped_to_ext(),
    "compress": lambda m: m.unmapped_compress(),
    "addpages": lambda m: m.addpages(1),
    "prepend": lambda m: m.prepend(10),
    "append": lambda m: m.append(b"more"),
    "adj": lambda m: m.adj(2),
    "epg": lambda m: setattr(m.epg, "hdr", b"other"),
    "cat": lambda m: m.cat(m),
    "unshare": lambda m: m.unshare(),
    "collapse": lambda m: m.collapse(2),
    "demote": lambda m: m.demote(True),
    "free_notready": lambda m: m.free_notready(1),
    "pages": lambda m: [m.page(n) for n in range(m.epg.npgs)],
}


@pytest.mark.filterwarnings("ignore:an mbuf from:ResourceWarning")
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("way", NASTY)
def test_whatever_a_routine_does_the_pages_go_once(pool: Pool, way: str, filled: bool) -> None:
    done: list[Any] = []

    def nasty(m: Mbuf) -> None:
        if filled:
            m.len = m.epg.total()
        try:
            done.append(NASTY[way](m))
        except MbufError as error:
            done.append(type(error))

    owner = Owner(nasty)
    m = owner.make(pool)
    m.free()
    assert len(done) == len(owner.seen) == 1
    other = pool.frombytes(sample(100), flags=M_EXTPG)
    others = [pool.get().append(sample(100)) for _ in range(3)]
    for thing in done:
        if isinstance(thing, Mbuf) and "freed" not in repr(thing):
            thing.freem()
    del thing
    done.clear()
    assert [bytes(n) for n in (other, *others)] == [sample(100)] * 4
    pool.free_bulk([other, *others])
    gc.collect()
    assert (pool.out, pool.pages.used) == (0, 0)


def test_an_mbuf_that_a_routine_keeps_is_freed(pool: Pool) -> None:
    kept: list[Mbuf] = []
    owner = Owner(kept.append)
    owner.make(pool).free()
    (m,) = kept
    for ask in (lambda: m.epg, lambda: m.page(0), lambda: bytes(m), lambda: m.free(), lambda: m.copym()):
        with pytest.raises(Freed):
            ask()


def test_what_a_routine_is_shown_can_only_be_looked_at(pool: Pool) -> None:
    refused: list[str] = []

    def share(m: Mbuf) -> None:
        m.len = m.epg.total()
        for verb in ("copym", "unmapped_to_ext", "unmapped_compress"):
            try:
                getattr(m, verb)()
            except (Inval, Busy):
                refused.append(verb)
        assert bytes(m)[:4] == b"head"
        n = pool.get()
        with pytest.raises(Inval, match="are being freed"):
            n.dupcl(m)
        n.free()

    owner = Owner(share)
    owner.make(pool).free()
    assert refused == ["copym", "unmapped_to_ext", "unmapped_compress"]
    assert len(owner.seen) == 1


def test_unmapped_pages_keep_no_tags_of_their_owner(pool: Pool) -> None:
    m = pool.gethdr()
    n = pool.alloc_ext_plus_pages(1)
    n.epg.last_len = 1
    n.len = 1
    for verb in ("move_pkthdr", "dup_pkthdr"):
        with pytest.raises(Inval, match="an mbuf of unmapped pages can't have a packet header"):
            getattr(n, verb)(m)
    with pytest.raises(Inval, match="no packet header"):
        _ = n.pkthdr
    with pytest.raises(Inval, match="packet header can't have unmapped pages"):
        m.dupcl(n)
    assert (m.flags, n.flags & M_PKTHDR, pool.out) == (M_PKTHDR, 0, 2)
    pool.free_bulk([m, n])


def test_no_flag_makes_an_mbuf_one_of_unmapped_pages(pool: Pool) -> None:
    m = pool.get()
    for flags in (M_EXTPG, M_EXTPG | M_EXT):
        with pytest.raises(Inval, match="can.t be set or cleared"):
            m.flags = flags
    with pytest.raises(Inval):
        m.extadd(bytearray(10), flags=M_EXTPG)
    with pytest.raises(Inval):
        pool.getcl(flags=M_EXTPG)
    m.demote(True, M_EXTPG)
    assert m.flags == 0
    m.free()


def test_other_storage_is_refused_where_there_are_pages(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(10)
    cluster = pool.cljget(None, size=2048)
    n = pool.getcl(flags=0)
    for add in (lambda: m.extadd(bytearray(9)), lambda: m.cljset(cluster), lambda: m.dupcl(n), lambda: pool.clget(m)):
        with pytest.raises(MbufError):
            add()
    with pytest.raises(Inval, match="detach"):
        m.detach()
    for verb, args in (("fill", (b"x", 0, 1)), ("grow", (1,)), ("align", (0,))):
        with pytest.raises(Inval, match=verb):
            getattr(m, verb)(*args)
    m.fill(b"", 0, 0)
    m.grow(0)
    assert (m.len, m.epg.npgs) == (0, 1)
    cluster.free()
    pool.free_bulk([m, n])


def test_pages_cannot_be_added_where_others_see_them(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(10)
    n = m.copym(0, 0) or m.copym()
    for user in (m, n):
        with pytest.raises(Busy, match="other mbufs use the pages"):
            user.addpages(1)
    m.free()
    with pytest.raises(Busy):
        n.addpages(1)
    assert (n.epg.npgs, pool.pages.used) == (1, 1)
    n.free()


def test_a_free_routine_cannot_free_the_mbuf_that_it_gets(pool: Pool) -> None:
    errors: list[type[BaseException]] = []

    def routine(m: Mbuf) -> None:
        for verb in (m.free, m.freem, m.copym, m.unmapped_compress, m.unmapped_to_ext, lambda: pool.free_bulk([m])):
            with pytest.raises(MbufError) as error:
                verb()
            errors.append(error.type)

    m = pool.alloc_ext_pgs(free=routine)
    m.addpages(2)
    m.free()
    assert (errors, pool.out, pool.pages.used) == ([Busy] * 6, 0, 0)
