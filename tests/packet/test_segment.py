import gc
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from mbuf import (
    M_BCAST,
    M_EOR,
    M_EXT,
    M_EXTPG,
    M_NOFREE,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    MT_CONTROL,
    MT_DATA,
    Freed,
    Inval,
    Mbuf,
    Pool,
    ReadOnly,
)

BAD = [-1, -(2**31), 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30]


# What is where.


@pytest.mark.parametrize(
    ("verb", "args", "flags", "size"),
    [
        ("get", {}, 0, 224),
        ("gethdr", {}, M_PKTHDR, 168),
        ("getcl", {}, M_PKTHDR | M_EXT, 2048),
        ("getcl", {"flags": 0}, M_EXT, 2048),
        ("getjcl", {"size": 2048}, M_PKTHDR | M_EXT, 2048),
        ("getjcl", {"size": 4096}, M_PKTHDR | M_EXT, 4096),
        ("getjcl", {"size": 9216, "flags": 0}, M_EXT, 9216),
        ("getjcl", {"size": 16384}, M_PKTHDR | M_EXT, 16384),
    ],
)
def test_a_new_mbuf_is_empty_and_all_room(pool: Pool, verb: str, args: dict[str, int], flags: int, size: int) -> None:
    m = getattr(pool, verb)(**args)
    assert (m.flags, m.type, m.size, m.len, m.offset, m.leading, m.trailing) == (
        flags,
        MT_DATA,
        size,
        0,
        0,
        0,
        size,
    )
    assert (m.writable, m.next, m.nextpkt, len(m.room), len(m.data), len(m)) == (
        True,
        None,
        None,
        size,
        0,
        0,
    )
    m.free()


@pytest.mark.parametrize(
    ("verb", "len_", "offset"),
    [
        ("get", 224, 0),
        ("get", 1, 216),
        ("get", 10, 208),
        ("get", 0, 224),
        ("get", 8, 216),
        ("get", 9, 208),
        ("gethdr", 20, 144),
        ("gethdr", 14, 152),
        ("gethdr", 0, 168),
        ("gethdr", 168, 0),
        ("getcl", 1500, 544),
        ("getcl", 2048, 0),
        ("getjcl", 1, 4088),
    ],
)
def test_align_leaves_room_for_so_many_bytes_at_the_end(pool: Pool, verb: str, len_: int, offset: int) -> None:
    m = getattr(pool, verb)()
    m.align(len_)
    assert (m.offset, m.leading, m.trailing) == (offset, offset, m.size - offset)
    m.free()


def test_align_is_for_data_at_the_start(pool: Pool) -> None:
    m = pool.get()
    m.align(100)
    with pytest.raises(Inval, match="at the start"):
        m.align(1)
    assert m.offset == 120
    m.free()


@pytest.mark.parametrize("count", [225, *BAD])
def test_align_refuses_what_does_not_fit(pool: Pool, count: int) -> None:
    m = pool.get()
    with pytest.raises(Inval):
        m.align(count)
    assert m.offset == 0
    m.free()


@pytest.mark.parametrize("room", [0, 99])
def test_align_leaves_data_inside_the_storage(pool: Pool, room: int) -> None:
    m = pool.getcl().append(bytes(100))
    with pytest.raises(Inval, match="has 100 already: call align before it is filled"):
        m.align(room)
    m.align(104)
    assert (m.offset, m.len, len(m.data)) == (2048 - 104, 100, 100)
    m.free()


# Length.


def test_the_length_can_be_any_part_of_what_is_left(pool: Pool) -> None:
    m = pool.get()
    m.align(100)
    for len_ in (104, 0, 57):
        m.len = len_
        assert (m.len, m.trailing, len(m.data), len(m.room)) == (len_, 104 - len_, len_, 104 - len_)
    m.free()


@pytest.mark.parametrize("count", [105, *BAD])
def test_the_length_stays_inside_the_storage(pool: Pool, count: int) -> None:
    m = pool.get()
    m.align(100)
    m.len = 3
    with pytest.raises(Inval, match="0 to 104"):
        m.len = count
    assert m.len == 3
    m.free()


@pytest.mark.parametrize("count", [1.0, 1.5, "1", None, b"1"])
def test_the_length_is_a_whole_number(pool: Pool, count: object) -> None:
    m = pool.get()
    with pytest.raises(TypeError):
        m.len = count  # type: ignore[assignment]
    assert m.len == 0
    m.free()


# Flags.


def test_flags_that_say_what_the_data_is_can_be_set(pool: Pool) -> None:
    m = pool.getcl()
    m.flags |= M_EOR | M_BCAST | 0x800000
    assert m.flags == M_PKTHDR | M_EXT | M_EOR | M_BCAST | 0x800000
    m.flags &= ~M_EOR
    assert m.flags == M_PKTHDR | M_EXT | M_BCAST | 0x800000
    m.free()


@pytest.mark.parametrize("flag", [M_EXT, M_PKTHDR, M_EXTPG, M_NOFREE])
def test_flags_that_say_what_the_mbuf_is_cannot(pool: Pool, flag: int) -> None:
    for m in (pool.get(), pool.getcl()):
        before = m.flags
        with pytest.raises(Inval, match="can.t be set or cleared"):
            m.flags ^= flag
        assert m.flags == before
        m.free()


@pytest.mark.parametrize("flags", [1 << 24, *BAD])
def test_flags_have_24_bits(pool: Pool, flags: int) -> None:
    m = pool.get()
    with pytest.raises(Inval, match="24 bits"):
        m.flags = flags
    assert m.flags == 0
    m.free()


def test_the_type_is_as_requested_and_stays(pool: Pool) -> None:
    m = pool.get(type=MT_CONTROL)
    assert m.type == MT_CONTROL
    with pytest.raises(AttributeError):
        m.type = MT_DATA  # type: ignore[misc]
    m.free()


# Writable or not.


def test_unshared_bytes_can_be_written(pool: Pool) -> None:
    m = pool.getcl().append(b"hello")
    data = m.data
    data[0] = ord("j")
    assert bytes(m) == b"jello"
    data.release()
    m.freem()


def test_shared_bytes_are_for_reading(pool: Pool) -> None:
    m = pool.getcl().append(b"hello")
    n = m.copypacket()
    for each in (m, n):
        assert (each.writable, each.leading, each.trailing, each.data.readonly) == (False, 0, 0, True)
        with pytest.raises(ReadOnly, match="shared or read-only"):
            each.room  # noqa: B018
        with pytest.raises(TypeError, match="read-only"):
            each.data[0] = 1
    n.freem()
    assert (m.writable, m.trailing, m.data.readonly) == (True, 2043, False)
    m.freem()


def test_bytes_marked_read_only_are_for_reading_until_the_mark_is_gone(pool: Pool) -> None:
    for m in (pool.get(), pool.getcl()):
        m.append(b"hello")
        m.flags |= M_RDONLY
        assert (m.writable, m.leading, m.trailing, m.data.readonly) == (False, 0, 0, True)
        with pytest.raises(ReadOnly):
            m.room  # noqa: B018
        m.flags &= ~M_RDONLY
        assert (m.writable, m.data.readonly) == (True, False)
        m.freem()


def test_an_mbuf_may_be_read_only_from_the_start(pool: Pool) -> None:
    m = pool.getcl(M_NOWAIT, MT_DATA, M_PKTHDR | M_RDONLY)
    assert not m.writable
    m.free()


# External storage.


def test_an_mbuf_that_holds_its_bytes_itself_has_no_external_storage(pool: Pool) -> None:
    m = pool.get()
    assert m.ext is None
    with pytest.raises(Inval, match="no external storage"):
        m.refcnt  # noqa: B018
    m.free()


@pytest.mark.parametrize(("size", "kind"), [(2048, 6), (4096, 3), (9216, 4), (16384, 5)])
def test_external_storage_shows_what_it_is(pool: Pool, size: int, kind: int) -> None:
    m = pool.getjcl(size=size)
    assert m.ext is not None
    assert (m.ext.type, m.ext.size, m.ext.count, m.ext.embedded, m.refcnt) == (kind, size, 1, True, 1)
    n = m.copypacket()
    r = n.copypacket()
    assert n.ext is not None
    assert r.ext is not None
    assert [(x.ext.count, x.ext.embedded, x.ext.id == m.ext.id) for x in (m, n, r)] == [
        (3, True, True),
        (3, False, True),
        (3, False, True),
    ]
    other = pool.getjcl(size=size)
    assert other.ext is not None
    assert other.ext.id != m.ext.id
    for x in (m, n, r, other):
        x.freem()


# Views keep memory.


def held(pool: Pool) -> int:
    return sum(zone.held for zone in pool.zones.all())


MAKERS: dict[str, Callable[[Pool], Mbuf]] = {
    "mbuf": lambda pool: pool.get(),
    "header": lambda pool: pool.gethdr(),
    # Before packets, whose zone takes many clusters at once.
    "cluster": lambda pool: pool.clget(pool.gethdr()),
    "packet": lambda pool: pool.getcl(),
    "page": lambda pool: pool.getjcl(),
    "9k": lambda pool: pool.getjcl(size=9216),
}


def reuse_all(pool: Pool) -> None:
    """Write over the memory that was freed last, of each zone."""
    taken = [make(pool) for make in MAKERS.values() for _ in range(5)]
    for m in taken:
        m.room[:] = b"\xff" * m.trailing
    pool.free_bulk(taken)


@pytest.mark.parametrize("kind", MAKERS)
def test_memory_that_is_looked_at_is_not_handed_out_again(pool: Pool, kind: str) -> None:
    m = MAKERS[kind](pool).append(b"keep this")
    view = m.data
    m.free()
    assert held(pool) == 1
    assert pool.out == 1 or kind in ("cluster", "page", "9k")
    reuse_all(pool)
    assert bytes(view) == b"keep this"
    view.release()
    assert (held(pool), pool.out) == (0, 0)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_view_has_to_go(pool: Pool, kind: str) -> None:
    m = MAKERS[kind](pool).append(b"keep this")
    views = [m.data, m.room, m.data[2:4], memoryview(m.data), m.data]
    m.free()
    while views:
        assert held(pool) == 1
        view = views.pop(0)
        del view
    assert (held(pool), pool.out) == (0, 0)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_collector_leaves_what_only_a_view_keeps(pool: Pool, kind: str) -> None:
    m = MAKERS[kind](pool).append(b"keep this")
    view = m.data
    m.free()
    del m
    gc.collect()
    view.release()
    assert (held(pool), pool.out) == (0, 0)


def test_a_view_released_before_the_free_keeps_nothing(pool: Pool) -> None:
    m = pool.getcl().append(b"x")
    view = m.data
    view.release()
    m.free()
    assert (held(pool), pool.out) == (0, 0)


def test_a_view_of_no_bytes_is_a_view(pool: Pool) -> None:
    m = pool.get()
    view = m.data
    m.free()
    assert held(pool) == 1
    del view
    assert held(pool) == 0


@pytest.mark.parametrize("kind", ["packet", "cluster", "page", "9k"])
@pytest.mark.parametrize("order", [*permutations(("owner", "sharer", "view", "other"))], ids=",".join)
def test_owner_sharer_and_views_may_go_in_any_order(pool: Pool, kind: str, order: tuple[str, ...]) -> None:
    owner = MAKERS[kind](pool).append(b"keep this")
    sharer = owner.copypacket()
    things = {"owner": owner, "sharer": sharer, "view": owner.data, "other": sharer.data}
    del owner, sharer
    for n, name in enumerate(order):
        thing = things.pop(name)
        if isinstance(thing, memoryview):
            assert bytes(thing) == b"keep this"
            thing.release()
        else:
            assert bytes(thing) == b"keep this"
            thing.free()
        del thing
        reuse_all(pool)
        alive = [left for left in things if left in ("owner", "sharer")]
        looked_at = [left for left in things if left not in ("owner", "sharer")]
        assert held(pool) == bool(looked_at and not alive), (n, name)
    assert (held(pool), pool.out) == (0, 0)


def test_held_memory_counts_as_in_use_of_its_zone(pool: Pool) -> None:
    m = pool.getcl()
    view = m.data
    m.free()
    stat = pool.stat()
    assert (stat.pack.used, stat.pack.held, stat.mbuf.used) == (1, 1, 0)
    view.release()
    assert (pool.stat().pack.used, pool.stat().pack.held) == (0, 0)
    m = pool.clget(pool.get())
    view = m.data
    m.free()
    # The mbuf is home already; its cluster isn't.
    stat = pool.stat()
    assert (stat.mbuf.used, stat.clust.held) == (0, 1)
    view.release()
    assert pool.stat().clust.held == 0


def test_a_view_outlives_everything(make: Callable[..., Pool]) -> None:
    pool = make()
    m = pool.getcl().append(b"still here")
    view = m.data
    m.free()
    with pytest.warns(ResourceWarning, match="1 mbufs still out"):
        assert pool.close() == 1
    assert bytes(view) == b"still here"
    vm = pool.vm
    view.release()
    assert (pool.out, vm.used) == (0, 0)


# Types.


@pytest.mark.parametrize("kind", [1, 2, 8, 15, 254])
def test_an_mbuf_may_be_of_another_type(pool: Pool, kind: int) -> None:
    m = pool.getcl().append(b"kept")
    assert m.chtype(kind) is m
    assert (m.type, bytes(m), m.flags) == (kind, b"kept", M_EXT | M_PKTHDR)
    m.free()
    with pytest.raises(Freed):
        m.chtype(kind)


@pytest.mark.parametrize("kind", [0, 255, 256, 257, *BAD])
def test_other_types_are_refused(pool: Pool, kind: int) -> None:
    m = pool.get(type=MT_CONTROL)
    with pytest.raises(Inval, match="chtype"):
        m.chtype(kind)
    assert m.type == MT_CONTROL
    m.free()


@pytest.mark.parametrize("kind", [1.0, None, "1"])
def test_a_type_is_a_number(pool: Pool, kind: Any) -> None:
    m = pool.get()
    with pytest.raises(TypeError):
        m.chtype(kind)
    assert m.type == MT_DATA
    m.free()


# Somebody's memory as storage.


def test_lent_memory_has_its_own_size(pool: Pool) -> None:
    m = pool.gethdr().extadd(bytearray(b"0123456789"))
    assert (m.size, m.len, m.leading, m.trailing, m.refcnt, m.writable) == (10, 0, 0, 10, 1, True)
    with pytest.raises(Inval, match="0 to 10"):
        m.len = 11
    m.align(2)
    assert (m.offset, m.trailing) == (8, 2)
    with pytest.raises(Inval, match="0 to 2"):
        m.grow(3)
    m.grow(2)
    assert (bytes(m), m.leading, m.trailing) == (b"89", 8, 0)
    m.free()


@pytest.mark.parametrize("count", [11, *BAD])
def test_no_more_is_shown_of_lent_memory_than_there_is(pool: Pool, count: int) -> None:
    m = pool.gethdr().extadd(b"0123456789")
    for ask in (lambda: m.grow(count), lambda: setattr(m, "len", count), lambda: m.align(count)):
        with pytest.raises(Inval):
            ask()
    assert (m.len, m.offset) == (0, 0)
    m.free()


def test_a_flag_makes_lent_memory_read_only_but_not_the_other_way(pool: Pool) -> None:
    m, n = pool.get().extadd(bytearray(1)), pool.get().extadd(b"1")
    m.flags |= M_RDONLY
    n.flags &= ~M_RDONLY
    assert (m.writable, n.writable, m.trailing, n.trailing) == (False, False, 0, 0)
    m.flags &= ~M_RDONLY
    assert m.writable
    m.free()
    n.free()


def test_only_a_program_with_listeners_reads_of_them_in_the_error(pool: Pool) -> None:
    m = pool.get()
    m.free()
    with pytest.raises(Freed, match="^mbuf at 0x[0-9a-f]+ was freed: don't use an mbuf after free.* gave it away$"):
        m.adj(1)
    with pool.probes.attached("m-free", lambda m: None), pytest.raises(Freed, match="a listener of a probe can't use"):
        m.adj(1)
    nothing = Mbuf.__new__(Mbuf)
    with pytest.raises(Freed, match="gave it away$"):
        nothing.adj(1)
