"""An mbuf of unmapped pages as a TLS record: references to the session, the order of frees, and exchanged pages."""

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbuf import M_EXTPG, M_NOWAIT, Busy, Freed, Inval, Mbuf, NoMemory, Pool, Vm, compiled
from mbuf.const import EPG_FLAG_2FREE, EPG_FLAG_ANON
from mbuf.packet.record import exchange, free_pages, hold, new_pages, payload
from mbuf.packet.unmapped import Unmapped


class Session:
    """A session that counts its references, and keeps the records that it has to free."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.refs = 0
        self.remains: list[Any] = []
        self.pages: list[int] = []

    def ref(self) -> None:
        self.refs += 1

    def release_if_not_last(self) -> bool:
        # The pages are freed before the session is called.
        self.pages.append(self.pool.pages.used)
        if self.refs == 1:
            return False
        self.refs -= 1
        return True

    def enqueue_to_free(self, remains: Any) -> None:
        self.remains.append(remains)


def unmapped(pool: Pool, data: bytes = b"0123456789") -> Mbuf:
    return pool.frombytes(data, flags=M_EXTPG)


def test_an_mbuf_without_unmapped_pages_or_session_has_no_tls(pool: Pool) -> None:
    with pool.get() as plain, unmapped(pool) as m:
        assert plain.tls is None
        assert m.tls is None
    with pytest.raises(Freed):
        _ = m.tls


def test_the_owner_takes_a_reference_and_sharers_name_the_session_without(pool: Pool) -> None:
    session = Session(pool)
    m = unmapped(pool)
    hold(m, session)
    assert (m.tls, session.refs) == (session, 1)
    n = m.copym()
    rest = n.split(4)
    assert (n.tls, rest.tls, session.refs) == (session, session, 1)
    pool.free_bulk([n, rest])
    assert (session.refs, session.pages) == (1, [])
    session.ref()
    m.free()
    assert (session.refs, session.pages, session.remains) == (1, [0], [])


@pytest.mark.parametrize("first", ["owner", "sharer"])
def test_the_last_reference_is_handed_over_when_the_pages_are_gone(pool: Pool, first: str) -> None:
    session = Session(pool)
    m = unmapped(pool)
    hold(m, session)
    n = m.copym()
    one, other = (m, n) if first == "owner" else (n, m)
    one.free()
    assert (session.pages, session.remains, pool.pages.used) == ([], [], 1)
    other.free()
    assert (session.pages, session.refs, pool.pages.used) == ([0], 1, 0)
    # The mbuf is freed only after the session has ended, and once.
    (remains,) = session.remains
    assert pool.out == 1
    remains.free()
    remains.free()
    assert pool.out == 0


def test_what_is_left_of_an_mbuf_is_freed_when_it_is_dropped(pool: Pool) -> None:
    session = Session(pool)
    m = unmapped(pool)
    hold(m, session)
    epg = m.epg
    m.free()
    assert epg.flags & EPG_FLAG_2FREE
    assert pool.out == 1
    session.remains.clear()
    assert pool.out == 0


def test_views_of_the_bytes_outlive_the_record(pool: Pool) -> None:
    session = Session(pool)
    m = unmapped(pool)
    hold(m, session)
    (view,) = m
    m.free()
    session.remains.pop().free()
    assert (bytes(view), pool.out, pool.pages.used) == (b"0123456789", 0, 1)
    view.release()
    del view
    assert pool.pages.used == 0


def test_a_session_is_for_unshared_unmapped_pages_with_bytes(pool: Pool) -> None:
    session: Any = Session(pool)
    with pool.get() as plain, unmapped(pool) as m, unmapped(pool, b"") as empty:
        for bad in (plain, empty, None):
            with pytest.raises(Inval):
                hold(bad, session)  # type: ignore[arg-type]
        with m.copym() as n:
            for shared in (m, n):
                with pytest.raises(Busy):
                    hold(shared, session)
            m.free()
            # The pages have another owner, although they have no other user.
            with pytest.raises(Busy):
                hold(n, session)
        with unmapped(pool) as cut:
            cut.adj(2)
            with pytest.raises(Inval, match="was trimmed"):
                hold(cut, session)
    assert session.refs == 0


def test_an_mbuf_has_one_session_at_most(pool: Pool) -> None:
    session = Session(pool)
    session.ref()
    with unmapped(pool) as m:
        hold(m, session)
        with pytest.raises(Inval, match="record"):
            hold(m, session)
        assert session.refs == 2
        with pytest.raises(Inval, match="TLS"):
            m.unmapped_to_ext()
        with pytest.raises(Busy, match="TLS"):
            m.unmapped_compress()


def test_pages_of_a_file_give_way_to_pages_in_memory(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 1000)
    with pool.file(path) as file, file.getm(100, 9000) as m:
        m.epg.hdr, m.epg.trail = b"<", b">>>"
        m.len += 4
        data = payload(m)
        assert data == path.read_bytes()[100:9100]
        view = list(m)[1]
        fresh = new_pages(m, data[::-1], M_NOWAIT, None)
        assert (file.users, pool.pages.used) == (1, 3)
        before = m.epg.pages
        exchange(m, fresh, b"===")
        free_pages(fresh)
        free_pages(fresh)
        assert bytes(m) == b"<" + data[::-1] + b"==="
        assert (file.users, pool.pages.used, m.epg.flags, m.epg.nrdy) == (0, 3, EPG_FLAG_ANON, 0)
        assert (m.epg.npgs, m.epg.first_off, m.epg.last_len, m.epg.pages != before) == (3, 100, 908, True)
        # An earlier view still shows the file.
        assert bytes(view) == data[:3996]
        view.release()
        with m.copym() as n:
            assert bytes(n) == bytes(m)
    assert (pool.pages.used, pool.sfbufs.used) == (0, 0)


def test_the_free_routine_sees_the_old_pages_once(pool: Pool) -> None:
    seen: list[Any] = []

    def free(m: Mbuf) -> None:
        ext = m.ext
        assert ext is not None
        seen.append((m.epg.pages, ext.arg1, pool.pages.used))
        # The session ignores these arguments.
        mine.free()

    mine = pool.alloc_ext_pgs(free=free, arg1="mine").addpages(1)
    mine.page(0)[:4] = b"abcd"
    mine.epg.last_len = 4
    mine.len = 4
    pages = mine.epg.pages
    fresh = new_pages(mine, b"wxyz", M_NOWAIT, None)
    exchange(mine, fresh, b"")
    assert (bytes(mine), seen) == (b"wxyz", [])
    free_pages(fresh)
    assert seen == [(pages, "mine", 2)]
    assert (pool.out, pool.pages.used) == (0, 0)


def test_pages_that_were_not_put_anywhere_are_freed(pool: Pool) -> None:
    with unmapped(pool) as m, unmapped(pool, bytes(5000)) as other:
        fresh = new_pages(m, b"abcdefghij", M_NOWAIT, None)
        for target, trail in ((other, b""), (m, b"more")):
            with pytest.raises(Inval, match="other pages"):
                exchange(target, fresh, trail)
        with pytest.raises(IndexError):
            new_pages(m, b"short", M_NOWAIT, None)
        assert (bytes(m), pool.pages.used) == (b"0123456789", 4)
        free_pages(fresh)
        for gone in (fresh, None):
            with pytest.raises(Inval, match="new_pages"):
                exchange(m, gone, b"")  # type: ignore[arg-type]
        free_pages(None)  # type: ignore[arg-type]
        assert pool.pages.used == 3


def test_out_of_pages_nothing_is_left_behind(make: Callable[..., Pool]) -> None:
    pool = make(vm=Vm(realmem=4 << 20))
    with unmapped(pool, bytes(20000)) as m:
        rest = []
        while True:
            try:
                rest.append(pool.alloc_ext_plus_pages(4096))
            except MemoryError:
                break
        for k in range(1, 5):
            rest.pop().free()
            used = pool.pages.used
            with pytest.raises(NoMemory):
                new_pages(m, bytes(20000), M_NOWAIT, None)
            assert pool.pages.used == used, k
        rest.pop().free()
        free_pages(new_pages(m, bytes(20000), M_NOWAIT, None))
        pool.free_bulk(rest)


def test_a_freed_sharer_keeps_neither_session_nor_file(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    before = os.listdir("/proc/self/fd")
    session = Session(pool)
    session.ref()
    known = weakref.ref(session)
    m = pool.file(path).getm()
    hold(m, session)
    n = m.copym()
    m.free()
    n.free()
    del session
    # m and n still refer to freed mbufs.
    assert known() is None
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("what", ["trims it", "makes it its record"])
def test_a_session_that_changes_its_record_meanwhile_has_no_reference_more(pool: Pool, what: str) -> None:
    m = unmapped(pool)
    other = Session(pool)

    class Meddling(Session):
        def ref(self) -> None:
            super().ref()
            if what == "trims it":
                m.adj(1)
            else:
                hold(m, other)

    session = Meddling(pool)
    session.refs = 1
    error = (Inval, "trimmed") if what == "trims it" else (Busy, "changed during the call")
    with pytest.raises(error[0], match=error[1]):
        hold(m, session)
    assert (session.refs, session.remains, m.tls is session) == (1, [], False)
    m.free()
    for remains in other.remains:
        remains.free()


@pytest.mark.skipif(compiled(), reason="no memory can be denied to a method that is compiled")
def test_pages_that_no_storage_takes_are_given_back(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    m = unmapped(pool)

    def refuse(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Unmapped, "add_frames", refuse)
    with pytest.raises(MemoryError):
        new_pages(m, bytearray(b"abcdefghij"), M_NOWAIT, None)
    assert (pool.pages.used, payload(m)) == (1, b"0123456789")
    m.free()
