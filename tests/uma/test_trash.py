import re
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from mbuf import M_NOWAIT, MLEN, Corrupt, Pool, Vm, compiled
from mbuf.const import PAGE_SIZE
from mbuf.uma import trash
from mbuf.uma.audit import audit_zone
from mbuf.uma.cpu import Cpus
from mbuf.uma.item import Item
from mbuf.uma.trash import TRASH, TrashKeg, TrashZone
from mbuf.vm import commit
from mbuf.vm.poison import sanitized

#: A sanitizer ends the program at such a write.
unmarked = pytest.mark.skipif(sanitized(), reason="free memory is marked, and can't be touched")

WORD = TRASH.to_bytes(4, sys.byteorder)


@pytest.fixture
def zone() -> TrashZone:
    keg = TrashKeg(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    return TrashZone("thing", 256, keg, Cpus(1), "kern.things", 15, True, True)


def scribble(vm: Vm, item: Item, at: int, data: bytes) -> None:
    """Write to the memory of an item from outside."""
    arena, offset = vm.place(item.run.page)
    start = offset + item.offset_in_run() + at
    arena.map[start : start + len(data)] = data


def test_the_pattern_is_the_kernels() -> None:
    assert TRASH == 0xDEADC0DE


def test_a_fresh_item_is_full_of_trash(zone: TrashZone) -> None:
    item = zone.alloc(M_NOWAIT, None)
    assert item.read(0, 256) == WORD * 64
    zone.free(item)


@unmarked
def test_what_is_freed_is_filled_with_trash(zone: TrashZone) -> None:
    item = zone.alloc(M_NOWAIT, None)
    item.write(0, b"secret", 0, 6)
    zone.free(item)
    assert item.read(0, 256) == WORD * 64


@unmarked
@pytest.mark.parametrize(("at", "found"), [(0, 0), (3, 0), (100, 100), (255, 252)])
def test_a_write_to_free_memory_is_found_when_it_is_handed_out(zone: TrashZone, at: int, found: int) -> None:
    items = [zone.alloc(M_NOWAIT, None) for _ in range(15)]
    victim = items[7]
    for item in items:
        zone.free(item)
    scribble(zone.backend.vm, victim, at, b"!")
    with pytest.raises(Corrupt, match=rf"memory modified after free: thing\(256\) has .* at offset {found}$"):
        take_all(zone, 15)
    assert (zone.used + zone.cached, zone.cached > 0) == (15, True)


def take_all(zone: TrashZone, count: int) -> None:
    for _ in range(count):
        zone.alloc(M_NOWAIT, None)


def test_an_item_freed_twice_is_found(zone: TrashZone) -> None:
    item = zone.alloc(M_NOWAIT, None)
    zone.free(item)
    with pytest.raises(Corrupt, match="duplicate free of an item of thing"):
        zone.free(item)
    assert (zone.used, zone.cached) == (0, 15)


def test_who_requested_what_is_remembered_by_line(zone: TrashZone) -> None:
    line = sys._getframe().f_lineno
    items = [zone.alloc(M_NOWAIT, None) for _ in range(3)]
    items.append(zone.alloc(M_NOWAIT, None))
    assert zone.sites() == Counter({f"{__file__}:{line + 1}": 3, f"{__file__}:{line + 2}": 1})
    assert zone.site(items[3]) == f"{__file__}:{line + 2}"
    for item in items:
        zone.free(item)
    assert zone.sites() == Counter()


def scribble_everywhere(vm: Vm) -> None:
    for page in range(vm.used):
        arena, offset = vm.place(page)
        arena.map[offset + 300] ^= 0xFF


@pytest.mark.parametrize(
    ("verb", "name", "at"),
    [("get", "mbuf(256)", 44), ("getcl", "mbuf_packet(256)", 300), ("getjcl", "mbuf_jumbo_page(4096)", 300)],
)
def test_a_pool_finds_each_write_to_the_bytes_of_free_mbufs_once(
    make: Callable[..., Pool], verb: str, name: str, at: int
) -> None:
    pool = make(debug=True)
    getattr(pool, verb)().free()
    scribble_everywhere(pool.vm)
    errors = []
    got = []
    for _ in range(400):
        try:
            got.append(getattr(pool, verb)())
        except Corrupt as error:
            errors.append(str(error))
    what = f"memory modified after free: {re.escape(name)} has [0-9a-f]{{8}} at offset {at}"
    assert errors
    assert all(re.fullmatch(what, line) or (verb == "getjcl" and "mbuf(256)" in line) for line in errors)
    assert pool.out == len(got)
    pool.free_bulk(got)


def test_a_view_kept_over_a_free_cannot_harm(make: Callable[..., Pool]) -> None:
    """The memory is freed only when the view is released."""
    pool = make(debug=True)
    for m in (pool.get(), pool.getcl(), pool.getjcl()):
        room = m.room
        m.free()
        room[:] = b"x" * len(room)
        room.release()
        del room
    m = pool.get()
    assert len(m.room) == MLEN
    m.free()


def test_freeing_nothing_has_no_effect(zone: TrashZone) -> None:
    zone.free(None)
    assert (zone.used, zone.cached, zone.sites()) == (0, 0, Counter())


@pytest.mark.skipif(compiled(), reason="a C function can't be replaced")
def test_an_item_whose_caller_can_not_be_found_is_not_lost(zone: TrashZone, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(trash, "_caller", fail)
        with pytest.raises(MemoryError):
            zone.alloc(M_NOWAIT, None)
    assert (zone.used, zone.cached, zone.sites()) == (0, 15, Counter())
    audit_zone(zone)
    zone.free(zone.alloc(M_NOWAIT, None))


@pytest.mark.skipif(compiled(), reason="compiled, nothing is freed in a commit")
def test_an_item_freed_in_a_commit_is_filled_after_it(zone: TrashZone) -> None:
    item = zone.alloc(M_NOWAIT, None)
    item.write(0, b"secret", 0, 6)
    commit.enter_commit()
    try:
        zone.free(item)
        assert not zone.try_free(item)
        assert (zone.used, len(zone.sites()), item.read(0, 6)) == (1, 1, b"secret")
    finally:
        commit.leave_commit()
    commit._run_releases()
    assert (zone.used, zone.cached, zone.sites(), item.read(0, 4)) == (0, 15, Counter(), WORD)
    audit_zone(zone)
