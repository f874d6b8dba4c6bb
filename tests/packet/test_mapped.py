"""A mapped page as storage of an mbuf."""

import os
from typing import Any

import pytest

from chains import sample
from mbuf import EXT_SFBUF, M_EXT, M_EXTPG, M_PKTHDR, M_RDONLY, PAGE_SIZE, Mbuf, Pool, ReadOnly
from mbuf.packet.mapped import Mapped
from packet.layouts import file_mbufs


def shown(pool: Pool, size: int = 5000) -> Mbuf:
    """A packet whose pages were mapped."""
    m = pool.gethdr().cat(pool.frombytes(sample(size), flags=M_EXTPG))
    m.fixhdr()
    return m.unmapped_to_ext()


def test_there_is_none_by_itself() -> None:
    with pytest.raises(TypeError, match=r"mapped\(unmapped, page\)"):
        Mapped()


def test_a_mapped_page_is_storage_for_reading(pool: Pool) -> None:
    m = shown(pool)
    first, second = m.next, m.next.next
    for n, count in ((first, PAGE_SIZE), (second, 904)):
        assert (n.flags, n.len, n.size, n.offset, n.writable) == (M_EXT | M_RDONLY, count, PAGE_SIZE, 0, False)
        assert (n.ext.type, n.ext.size, n.ext.count, n.ext.embedded, n.ext.obj) == (EXT_SFBUF, 4096, 1, True, None)
        assert n.data.readonly
        assert (n.leading, n.trailing) == (0, 0)
        with pytest.raises(ReadOnly):
            _ = n.room
    assert first.ext.id != second.ext.id
    assert first.ext.arg1 != second.ext.arg1
    m.freem()


def test_a_page_of_a_file_shows_the_file_and_its_index(pool: Pool) -> None:
    m = file_mbufs(pool, sample(5000), 3 * PAGE_SIZE).unmapped_to_ext()
    assert [n.ext.arg1 for n in (m, m.next)] == [3, 4]
    assert m.ext.obj is m.next.ext.obj
    assert (m.size, m.next.size, pool.sfbufs.used) == (PAGE_SIZE, 904, 2)
    assert bytes(m) == sample(5000)
    m.freem()
    assert pool.sfbufs.used == 0


def test_those_that_share_it_keep_the_pages_and_the_owner_of_all_lingers(pool: Pool) -> None:
    m = shown(pool)
    n = m.next.copym(0, 10)
    assert (n.ext.count, m.next.ext.count, n.ext.embedded) == (2, 2, False)
    # The header, two mapped mbufs and their copy; the mbuf of unmapped pages is in no chain.
    assert (pool.out, pool.pages.used) == (5, 2)
    m.freem()
    # A freed mapped mbuf stays in use for its copy, and the owner of the pages for both.
    assert (pool.out, pool.pages.used, bytes(n)) == (3, 2, sample(10))
    n.freem()
    assert (pool.out, pool.pages.used) == (0, 0)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_pages_go_with_the_last_that_shows_one(pool: Pool, order: tuple[int, int]) -> None:
    m = pool.frombytes(sample(5000), flags=M_EXTPG).unmapped_to_ext()
    parts: list[Any] = [m, m.next]
    m.next = None
    first, last = (parts[n] for n in order)
    first.freem()
    assert (pool.out, pool.pages.used) == (2, 2)
    last.freem()
    assert (pool.out, pool.pages.used) == (0, 0)


@pytest.mark.parametrize("storage", ["memory", "file"])
def test_a_view_keeps_the_page_and_the_window(pool: Pool, storage: str) -> None:
    made = pool.frombytes(sample(100), flags=M_EXTPG) if storage == "memory" else file_mbufs(pool, sample(100), 0)
    m = made.unmapped_to_ext()
    del made
    view = m.data
    file = m.ext.obj
    fd = None if file is None else file.fd
    m.freem()
    held = (pool.zones.mbuf.held, pool.pages.used, pool.sfbufs.used)
    assert held == ((1, 1, 0) if storage == "memory" else (1, 0, 1))
    assert bytes(view) == sample(100)
    if fd is not None:
        assert os.fstat(fd).st_size == 100
    del file
    view.release()
    del view
    assert (pool.zones.mbuf.held, pool.pages.used, pool.sfbufs.used, pool.out) == (0, 0, 0, 0)
    if fd is not None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_copyback_writes_through_to_pages_of_memory_and_never_to_a_file(pool: Pool) -> None:
    m = shown(pool, 100)
    n = m.copypacket()
    # As in the kernel, shared bytes are overwritten.
    m.copyback(0, b"new")
    assert bytes(n)[:3] == b"new"
    pool.free_bulk([m, n])
    p = file_mbufs(pool, b"unmapped", 0).unmapped_to_ext()
    with pytest.raises(ReadOnly):
        p.copyback(0, b"new")
    assert bytes(p) == b"unmapped"
    p.freem()


def test_a_mapped_page_can_be_unshared_and_is_then_a_cluster(pool: Pool) -> None:
    m = shown(pool, 1000)
    m.unshare()
    assert (pool.pages.used, bytes(m), m.flags & M_PKTHDR) == (0, sample(1000), M_PKTHDR)
    m.freem()
