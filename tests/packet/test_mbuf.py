import copy
import gc
import pickle
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import (
    M_EOR,
    M_EXTPG,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    M_WAITOK,
    MT_CONTROL,
    Freed,
    Inval,
    Mbuf,
    MbufError,
    NoBufs,
    NoMemory,
    Pool,
    ReadOnly,
    compiled,
)
from mbuf.vm.buffer_export import export_buffer
from packet.verbs import ARGUMENTS, public, resolved

#: Objects of a class of Python's lend their bytes from 3.12 on, those of C's always.
LENDS = compiled() or sys.version_info >= (3, 12)


# Freed mbufs.

PUBLIC = public()
SETTABLE = {"len": 0, "flags": 0, "next": None, "nextpkt": None, "peer": None, "control": None}


def freed(pool: Pool) -> Mbuf:
    m = pool.getcl()
    m.free()
    return m


@pytest.mark.parametrize("name", PUBLIC)
def test_after_the_free_every_method_raises(make: Callable[..., Pool], name: str) -> None:
    pool = make()
    m = freed(pool)
    if name not in ARGUMENTS:
        with pytest.raises(Freed, match=rf"mbuf at {id(m):#x} was freed"):
            getattr(m, name)
        return
    with resolved(pool, name, m) as arguments, pytest.raises(Freed, match=rf"mbuf at {id(m):#x} was freed"):
        getattr(m, name)(*arguments)


@pytest.mark.parametrize("name", SETTABLE)
def test_freed_it_raises_whatever_is_set(pool: Pool, name: str) -> None:
    m = freed(pool)
    with pytest.raises(Freed):
        setattr(m, name, SETTABLE[name])


def test_nothing_else_can_be_set(pool: Pool) -> None:
    m = pool.getcl()
    for name in set(PUBLIC) - set(SETTABLE) | {"colour"}:
        with pytest.raises(AttributeError):
            setattr(m, name, 0)
    m.free()


@pytest.mark.parametrize(
    "ask",
    [
        len,
        bytes,
        iter,
        list,
        b"".join,
        pytest.param(memoryview, marks=pytest.mark.skipif(not LENDS, reason="a class of Python's lends nothing")),
        lambda m: m.__enter__(),
        lambda m: m.__len__(),
    ],
    ids=["len", "bytes", "iter", "list", "join", "memoryview", "enter", "dunder"],
)
def test_freed_it_has_no_bytes(pool: Pool, ask: Callable[[Any], object]) -> None:
    m = freed(pool)
    with pytest.raises(Freed):
        ask(m)


def test_freed_it_still_has_a_name_and_is_true(pool: Pool) -> None:
    m = freed(pool)
    assert repr(m) == f"<Mbuf {id(m):#x} freed>"
    assert bool(m)
    assert m == m
    assert hash(m) == hash(m)


def test_freeing_twice_raises_and_frees_once(pool: Pool) -> None:
    m, n = pool.get(), pool.get()
    m.free()
    for again in (m.free, m.freem, m.free):
        with pytest.raises(Freed):
            again()
    assert pool.out == 1
    n.free()
    assert pool.zones.mbuf.stat().frees == 2


def test_a_handle_with_a_reference_is_never_used_again(pool: Pool) -> None:
    stale: list[Mbuf] = []
    for n in range(400):
        m = [pool.get, pool.gethdr, pool.getcl, pool.getjcl][n % 4]()
        assert all(m is not old for old in stale)
        m.append(bytes([n % 251]) * 10)
        if n % 3:
            stale.append(m)
        m.free()
    others = [pool.getcl().append(b"others") for _ in range(100)]
    for old in stale:
        with pytest.raises(Freed):
            old.append(b"mine")
        with pytest.raises(Freed):
            old.data  # noqa: B018
        with pytest.raises(Freed):
            old.free()
    assert {bytes(m) for m in others} == {b"others"}
    assert pool.out == 100
    pool.free_bulk(others)


def test_handles_held_anywhere_are_held(pool: Pool) -> None:
    boxes: list[Any] = []
    for n in range(60):
        m = pool.getcl()
        boxes.append([[m], {"m": m}, (lambda m=m: m), iter([m])][n % 4])
        m.free()
        del m
    fresh = [pool.getcl() for _ in range(60)]
    held = [box[0] if isinstance(box, list) else None for box in boxes]
    assert all(m is not n for m in fresh for n in held)
    for box in boxes:
        if isinstance(box, dict):
            assert "freed" in repr(box["m"])
    pool.free_bulk(fresh)


def test_a_finalizer_that_sees_its_mbuf_sees_it_freed(make: Callable[..., Pool]) -> None:
    pool = make()
    seen: list[str] = []

    class Interface:
        def __init__(self, m: Mbuf) -> None:
            self.m = m

        def __del__(self) -> None:
            seen.append(repr(self.m))

    m = pool.gethdr()
    m.pkthdr.rcvif = Interface(m)
    m.free()
    del m
    gc.collect()
    assert len(seen) == 1
    assert seen[0].endswith(" freed>")


@pytest.mark.parametrize("link", ["next", "nextpkt"])
def test_a_finalizer_cannot_free_what_is_being_freed(make: Callable[..., Pool], link: str) -> None:
    pool = make()
    refused: list[str] = []

    class Interface:
        def __init__(self, *mbufs: Mbuf) -> None:
            self.mbufs = mbufs

        def __del__(self) -> None:
            for m in self.mbufs:
                try:
                    m.free()
                except Freed:
                    refused.append("freed")

    m, n = pool.gethdr(), pool.gethdr()
    n.pkthdr.rcvif = Interface(m)
    m.pkthdr.rcvif = Interface(m)
    setattr(m, link, n)
    del n
    # n is dropped with m, and its interface with it.
    m.free() if link == "nextpkt" else m.freem()
    assert refused == ["freed", "freed"]
    assert (pool.out, pool.zones.mbuf.stat().frees) == (0, 2)
    fresh = [pool.get() for _ in range(10)]
    assert len({id(each) for each in fresh}) == 10
    pool.free_bulk(fresh)


# Freeing.


def test_free_returns_the_next_which_is_then_the_callers(pool: Pool) -> None:
    m = pool.gethdr().append(bytes(168) + b"x")
    second = m.next
    assert m.free() is second
    assert second is not None
    assert bytes(second) == b"x"
    assert second.free() is None
    assert pool.out == 0


def test_freem_frees_the_packet_and_drops_the_list(pool: Pool) -> None:
    m = pool.gethdr().append(bytes(1000))
    n = pool.gethdr()
    m.nextpkt = n
    m.freem()
    assert pool.out == 1
    n.free()


def test_a_with_statement_frees_at_the_end(pool: Pool) -> None:
    with pool.getcl() as m:
        m.append(bytes(5000))
        assert pool.out > 1
    assert pool.out == 0
    with pytest.raises(ZeroDivisionError), pool.getcl():
        1 // 0  # noqa: B018
    assert pool.out == 0
    with pool.getcl() as m:
        m.freem()
    assert pool.out == 0


def test_freeing_is_not_a_dropping(pool: Pool) -> None:
    pool.getcl().free()
    pool.gethdr().append(bytes(10_000)).freem()
    with pool.getcl():
        pass
    pool.free_bulk(pool.getcl_bulk(10))
    assert pool.stat().drops == 0


# What an mbuf is not.


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, pickle.dumps, lambda m: pickle.dumps(m, 0), lambda m: copy.copy([m][0])],
)
def test_an_mbuf_cannot_be_pickled_or_copied(pool: Pool, duplicate: Callable[[Any], object]) -> None:
    m = pool.getcl()
    with pytest.raises(TypeError, match="memory of its pool"):
        duplicate(m)
    m.free()


def test_an_mbuf_comes_from_a_pool() -> None:
    with pytest.raises(TypeError, match="can.t be made directly"):
        Mbuf()


def test_the_representation_says_what_and_where(pool: Pool) -> None:
    m = pool.getcl(flags=M_PKTHDR | M_EOR)
    m.align(1500)
    m.append(b"x" * 60)
    m.pkthdr.len = 61
    assert repr(m) == f"<Mbuf {id(m):#x} M_EXT|M_PKTHDR|M_EOR 60 of 2048 bytes at 544, packet of 61>"
    m.free()
    n = pool.get()
    assert repr(n) == f"<Mbuf {id(n):#x} 0 0 of 224 bytes at 0>"
    n.free()


# Bytes in and out.


@pytest.mark.skipif(not LENDS, reason="a class of Python's lends nothing before 3.12")
def test_a_packet_in_one_mbuf_is_a_buffer(build: Callable[[bytes], Mbuf]) -> None:
    m = build(b"hello")
    if m.len != len(m) or m.flags & M_EXTPG:
        with pytest.raises(BufferError, match=r"sendmsg\(m\).*pullup\(\)"):
            memoryview(m)
        return
    with memoryview(m) as view:
        assert bytes(view) == b"hello"
        assert view.readonly == (not m.writable)


def test_a_chain_goes_out_with_sendmsg_and_comes_in_through_room(pool: Pool) -> None:
    m = pool.gethdr().append(bytes(range(256)) * 8)
    n = pool.getcl()
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        assert here.sendmsg(m) == 2048
        n.grow(there.recv_into(n.room))
    assert bytes(n) == bytes(m) == b"".join(m)
    assert n.pkthdr.len == 2048
    m.freem()
    n.freem()


def test_recv_into_stops_at_the_end_of_the_room(pool: Pool) -> None:
    m = pool.get()
    here, there = socket.socketpair()
    with here, there:
        here.sendall(b"x" * 300)
        m.grow(there.recv_into(m.room))
    assert (m.len, m.trailing) == (224, 0)
    m.free()


# Append.


@pytest.mark.parametrize("size", [0, 1, 56, 167, 168, 169, 223, 224, 225, 392, 393, 2047, 2048, 2049, 5000])
def test_what_is_appended_is_at_the_end(build: Callable[[bytes], Mbuf], size: int) -> None:
    m = build(b"start")
    data = bytes(range(250)) * (size // 250 + 1)
    has_header = m.flags & M_PKTHDR
    assert m.append(data[:size]) is m
    assert bytes(m) == b"start" + data[:size]
    assert len(m) == 5 + size
    if has_header:
        assert m.pkthdr.len == 5 + size


def test_what_does_not_fit_goes_to_plain_mbufs_of_the_same_type(pool: Pool) -> None:
    m = pool.get(M_NOWAIT, MT_CONTROL).append(bytes(1000))
    lens, n = [], m
    while n is not None:
        lens.append((n.len, n.type, n.flags))
        n = n.next  # type: ignore[assignment]
    assert lens == [(224, MT_CONTROL, 0)] * 4 + [(104, MT_CONTROL, 0)]
    m.freem()


def test_nothing_is_written_to_shared_bytes(pool: Pool) -> None:
    m = pool.getcl().append(b"shared")
    n = m.copypacket()
    m.append(b" mine")
    n.append(b" yours")
    assert (bytes(m), bytes(n)) == (b"shared mine", b"shared yours")
    assert (m.len, n.len) == (6, 6)
    m.freem()
    n.freem()


@pytest.mark.parametrize(
    "data",
    [
        bytearray(b"abcd"),
        memoryview(b"xabcd")[1:],
        memoryview(b"abcd").cast("H"),
        memoryview(b"abcd").cast("B", (2, 2)),
    ],
    ids=["bytearray", "slice", "keywords", "table"],
)
@pytest.mark.parametrize("before", [0, 222])
def test_any_contiguous_buffer_can_be_appended(pool: Pool, data: Any, before: int) -> None:
    m = pool.get().append(bytes(before)).append(data)
    assert bytes(m)[before:] == b"abcd"
    m.freem()


@pytest.mark.parametrize("before", [0, 222])
@pytest.mark.parametrize(
    ("junk", "error"),
    [
        (None, TypeError),
        ("text", TypeError),
        (7, TypeError),
        ([1, 2], TypeError),
        (memoryview(bytes(600))[::2], BufferError),
    ],
    ids=["None", "text", "number", "list", "every other"],
)
def test_what_is_not_a_row_of_bytes_is_refused(pool: Pool, junk: Any, error: type, before: int) -> None:
    m = pool.get().append(b"x" * before)
    with pytest.raises(error):
        m.append(junk)
    assert (bytes(m), m.next, pool.out) == (b"x" * before, None, 1)
    m.free()


def test_a_packet_can_be_appended_to_itself(pool: Pool) -> None:
    m = pool.gethdr().append(b"ab")
    m.append(m.data)
    m.append(m.data)
    assert bytes(m) == b"abababab"
    big = pool.getcl().append(b"x" * 1500)
    big.append(big.data)
    assert bytes(big) == b"x" * 3000
    m.freem()
    big.freem()


# Copying.


def test_a_copy_has_the_same_bytes_in_the_same_pieces(build: Callable[[bytes], Mbuf]) -> None:
    m = build(bytes(range(100)))
    if not m.flags & M_PKTHDR:
        with pytest.raises(Inval, match="no packet header"):
            m.copypacket()
        return
    n = m.copypacket()
    assert bytes(n) == bytes(m)
    assert (n.pkthdr.len, n.flags & ~M_RDONLY) == (100, m.flags & ~M_RDONLY)
    assert n.flags & M_RDONLY == m.flags & M_RDONLY
    a, b = m, n
    while a is not None:
        assert (a.len, a.type, a.size) == (b.len, b.type, b.size)
        if a.ext is not None:
            assert b.ext is not None
            assert (a.ext.id, a.offset) == (b.ext.id, b.offset)
        a, b = a.next, b.next  # type: ignore[assignment]
    assert b is None
    n.freem()


def test_a_copy_has_its_own_header_with_the_same_fields(pool: Pool) -> None:
    m = pool.getcl(flags=M_PKTHDR | M_EOR).append(b"x")
    m.pkthdr.rcvif = "em0"
    m.pkthdr.flowid = 7
    n = m.copypacket()
    assert n.pkthdr is not m.pkthdr
    assert (n.pkthdr.rcvif, n.pkthdr.flowid, n.pkthdr.len, n.flags & M_EOR) == ("em0", 7, 1, M_EOR)
    n.pkthdr.flowid = 8
    assert m.pkthdr.flowid == 7
    m.freem()
    n.freem()


def test_bytes_inside_mbufs_are_copied(pool: Pool) -> None:
    m = pool.gethdr()
    m.align(20)
    m.append(b"a" * 20).append(b"b" * 20)
    n = m.copypacket()
    m.data[:] = b"c" * m.len
    assert bytes(n) == b"a" * 20 + b"b" * 20
    # The first mbuf keeps its offset.
    assert n.offset == m.offset == 144
    m.freem()
    n.freem()


def test_a_copy_is_one_packet_and_no_list(pool: Pool) -> None:
    m, other = pool.gethdr().append(b"x"), pool.gethdr()
    m.nextpkt = other
    n = m.copypacket()
    assert n.nextpkt is None
    for each in (m, n, other):
        each.freem()


@pytest.mark.parametrize("how", [0, 3, -1, 2**31, 2**32 + 1, 2**63, -(2**63) - 1])
def test_a_copy_is_made_waiting_or_not(pool: Pool, how: int) -> None:
    m = pool.gethdr()
    with pytest.raises(Inval, match="how"):
        m.copypacket(how)
    assert pool.out == 1
    m.free()


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_copy_does_not_wait_for_a_time_that_cannot_be(pool: Pool, timeout: float) -> None:
    m = pool.gethdr()
    with pytest.raises(Inval, match="timeout"):
        m.copypacket(M_WAITOK, timeout)
    assert pool.out == 1
    m.free()


# Failing changes nothing.


def state(pool: Pool, m: Mbuf) -> Any:
    pieces, n = [], m
    while n is not None:
        ext = n.ext
        pieces.append((id(n), bytes(n.data), n.offset, n.flags, n.type, ext and (ext.count, ext.embedded, ext.id)))
        n = n.next  # type: ignore[assignment]
    hdr = (m.pkthdr.len, m.pkthdr.flowid) if m.flags & M_PKTHDR else None
    zones = [(zone.name, zone.used, zone.held) for zone in pool.zones.all() if zone.name != "mbuf_cluster"]
    return pieces, hdr, zones, pool.stat().drops, pool.zones.clust.used - pool.zones.pack.cached


def take_all_but(pool: Pool, spare: int) -> list[Mbuf]:
    """Allocate all mbufs of a pool except `spare`."""
    taken: list[Mbuf] = []
    while True:
        try:
            taken.append(pool.get())
        except NoBufs:
            break
    for _ in range(spare):
        taken.pop().free()
    return taken


def packet_of_all_kinds(pool: Pool) -> Mbuf:
    """A header, a shared cluster, a plain mbuf and a jumbo."""
    m = pool.gethdr().append(b"head")
    m.next = pool.getcl(flags=0).append(b"cluster")
    m.next.next = pool.get().append(b"plain")
    m.next.next.next = pool.getjcl(flags=0).append(b"jumbo")
    m.pkthdr.len = 21
    m.pkthdr.flowid = 7
    return m


@pytest.mark.parametrize("k", range(7))
def test_an_append_that_fails_at_the_kth_mbuf_changes_nothing(small: Callable[..., Pool], k: int) -> None:
    pool = small(mbufs=40)
    m = packet_of_all_kinds(pool)
    n = m.last()
    n.len = 0
    n.next = pool.get().append(b"end")
    m.pkthdr.len = len(m)
    taken = take_all_but(pool, k)
    before = state(pool, m)
    fails = pool.zones.mbuf.stat().fails
    with pytest.raises(NoBufs) as caught:
        # Seven more mbufs after the room of the last is full.
        m.append(b"x" * (221 + 224 * 6 + 1))
    assert caught.value.zone == "mbuf"
    assert state(pool, m) == before
    assert pool.zones.mbuf.stat().fails == fails + 1
    assert bytes(m)[-3:] == b"end"
    pool.free_bulk(taken)
    m.append(b"x" * (221 + 224 * 6 + 1))
    assert pool.out == 5 + 7
    m.freem()


@pytest.mark.parametrize("k", range(4))
def test_a_copy_that_fails_at_the_kth_mbuf_changes_nothing(small: Callable[..., Pool], k: int) -> None:
    pool = small(mbufs=40)
    m = packet_of_all_kinds(pool)
    shared = pool.getcl().append(b"shared")
    m.last().next = shared
    taken = take_all_but(pool, k)
    before = state(pool, m)
    fails = pool.zones.mbuf.stat().fails
    with pytest.raises(NoBufs):
        m.copypacket()
    assert state(pool, m) == before
    assert pool.zones.mbuf.stat().fails == fails + 1
    with pytest.raises(NoBufs):
        m.copypacket(M_WAITOK, 0)
    assert state(pool, m) == before
    assert m.next is not None
    assert m.next.writable
    pool.free_bulk(taken)
    n = m.copypacket()
    assert bytes(n) == bytes(m)
    assert not m.next.writable
    n.freem()
    m.freem()


def test_what_fails_for_want_of_pages_changes_nothing(make: Callable[..., Pool]) -> None:
    pool = make({"kern.ipc.nmbufs": 1000}, mem=4 * 4096, caching=False)
    m = pool.gethdr().append(bytes(168))
    before = state(pool, m)
    with pytest.raises(NoMemory, match="out of pages: 4 of 4 in use"):
        m.append(bytes(224 * 70))
    assert state(pool, m) == before
    m.freem()


def test_a_chain_that_lost_a_link_is_not_copied_halfway(pool: Pool) -> None:
    m = packet_of_all_kinds(pool)
    last = m.last()
    assert m.next is not None
    assert m.next.next is not None
    m.next.next.free()
    with pytest.raises(Freed):
        m.copypacket()
    assert m.next.refcnt == 1
    assert (pool.out, pool.stat().drops) == (3, 0)
    last.free()
    m.next.free()
    m.free()


# Clusters.


def test_a_cluster_replaces_what_the_mbuf_held(pool: Pool) -> None:
    m = pool.gethdr().append(b"gone")
    assert pool.clget(m) is m
    assert (m.offset, m.size, m.ext is not None, m.flags & M_PKTHDR) == (0, 2048, True, M_PKTHDR)
    m.freem()


def test_a_read_only_packet_raises_an_error_on_every_way_to_write(pool: Pool) -> None:
    m = pool.getcl().append(b"x")
    m.flags |= M_RDONLY
    with pytest.raises(ReadOnly):
        m.room  # noqa: B018
    assert [view.readonly for view in m] == [True]
    if LENDS:
        with memoryview(m) as view:
            assert view.readonly
    m.append(b"more")
    assert (m.len, bytes(m)) == (1, b"xmore")
    m.freem()


def test_all_errors_are_of_one_tree(pool: Pool) -> None:
    m = freed(pool)
    with pytest.raises(MbufError):
        m.free()
    with pytest.raises(ReferenceError):
        m.free()


def test_an_mbuf_is_not_a_base_of_a_class() -> None:
    with pytest.raises(TypeError):
        type("Own", (Mbuf,), {})


@pytest.mark.skipif(compiled(), reason="no memory can be denied to a function that is compiled")
def test_an_mbuf_whose_header_finds_no_memory_is_given_back(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(m: Mbuf) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("mbuf.packet.mbuf.own_header", refuse)
        for get in (pool.gethdr, pool.getcl):
            with pytest.raises(MemoryError):
                get()
    assert pool.out == 0
    pool.audit()
    pool.gethdr().free()


@pytest.mark.skipif(compiled(), reason="exporting a buffer runs no code of Python's")
@pytest.mark.parametrize("what", ["attaches", "frees"])
def test_an_mbuf_that_changes_while_a_buffer_is_exported_takes_none(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    m = pool.get()

    def meddling(data: Any) -> Any:
        monkeypatch.undo()
        if what == "attaches":
            m.extadd(bytearray(b"other"))
        else:
            m.free()
        return export_buffer(data)

    monkeypatch.setattr("mbuf.packet.attach.export_buffer", meddling)
    with pytest.raises(Inval if what == "attaches" else Freed):
        m.extadd(bytearray(b"mine"))
    assert pool.out == (what == "attaches")
    if what == "attaches":
        assert bytes(m.detach()) == b"other"
        m.free()


# sys.getsizeof.


def own_bytes(*mbufs: Mbuf) -> list[int]:
    """What sys.getsizeof says of each mbuf, without its handle."""
    handle = sys.getsizeof(Mbuf.__new__(Mbuf))
    return [sys.getsizeof(m) - handle for m in mbufs]


def test_the_size_of_an_mbuf_is_its_memory(pool: Pool) -> None:
    bare, packet, large = pool.get(), pool.getcl(), pool.getjcl(size=9216)
    assert own_bytes(bare, packet, large) == [256, 256 + 2048, 256 + 9216]
    assert own_bytes(freed(pool)) == [0]
    pool.free_bulk([bare, packet, large])


def test_the_sizes_of_mbufs_that_share_storage_add_up(pool: Pool) -> None:
    m = pool.getcl().append(b"a" * 900)
    n, o = m.copypacket(), m.copym(0, 300)
    assert o is not None
    assert own_bytes(m, n, o) == [256 + 2048 // 3] * 3
    n.freem()
    o.freem()
    assert own_bytes(m) == [256 + 2048]
    m.freem()


def test_memory_of_the_program_is_not_counted(pool: Pool) -> None:
    m = pool.wrap(bytearray(10000))
    assert own_bytes(m) == [256]
    m.freem()


def test_unmapped_pages_are_counted(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(9000)
    m.len = m.epg.total()
    assert own_bytes(m) == [256 + 3 * 4096]
    n = m.copym(0, 5000)
    assert n is not None
    assert own_bytes(m, n) == [256 + 3 * 2048] * 2
    n.unmapped_to_ext()
    mapped = [n] if n.next is None else [n, n.next]
    assert sum(own_bytes(m, *mapped)) == 3 * 256 + 3 * 4096
    n.freem()
    m.freem()
