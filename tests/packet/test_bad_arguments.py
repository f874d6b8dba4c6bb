"""Invalid arguments for every verb, on every chain: it raises an error and changes nothing."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from chains import sample
from mbuf import M_NOWAIT, M_PROTO1, M_WAITOK, Freed, Inval, Mbuf, Pool, ReadOnly, Vm, compiled
from packet.snapshot import mbuf_state, snapshot
from packet.verbs import ARGUMENTS, CLUSTER, MBUF, NEW_TAG, PACKET, STORED, TAG, packet, resolved

BAD = [-1, 2**31, 2**32, 2**63, 2**64, -(2**63) - 1, 1.5, None, "1"]

#: Which of the numbers are valid for some arguments.
RIGHT: dict[tuple[str, int], Callable[[Any], bool]] = {
    ("adj", 0): lambda n: n == -1,
    # Any number is valid.
    ("collapse", 0): lambda n: isinstance(n, int) and n > 0,
    # As in `bytes.find`.
    ("find", 1): lambda n: isinstance(n, int),
    ("rfind", 1): lambda n: isinstance(n, int),
    ("fragment", 0): lambda n: n == -1,
    ("hexdump", 1): lambda n: n is None,
    ("mapped_to_unmapped", 1): lambda n: isinstance(n, int) and n > 0,
    ("print", 0): lambda n: isinstance(n, int) and n >= -1,
    # There is no such tag.
    ("tag_find", 0): lambda n: True,
    ("tag_locate", 0): lambda n: True,
    ("tag_locate", 1): lambda n: True,
}
NUMBERS = [
    (name, n)
    for name, arguments in ARGUMENTS.items()
    for n, argument in enumerate(arguments)
    if type(argument) is int and not (name == "pack" and n == 2)
]
OBJECTS = [
    (name, n)
    for name, arguments in ARGUMENTS.items()
    for n, argument in enumerate(arguments)
    if argument in (MBUF, PACKET, STORED, TAG, NEW_TAG, CLUSTER)
]
WAITING = (
    *("collapse", "compact", "copym", "copypacket", "defrag", "dup", "fragment"),
    *("mapped_to_unmapped", "prepend", "segment", "split", "unshare"),
)

#: Verbs that raise an error for this packet.
WRONG = {"detach": Inval, "before_export": BufferError, "pack": ReadOnly, "view": BufferError} | dict.fromkeys(
    ("addpages", "page", "unmapped_compress"), Inval
)

#: Verbs that use only the first mbuf.
LOCAL = frozenset(
    [
        "addpages",
        "align",
        "chtype",
        "cljset",
        "demote_pkthdr",
        "detach",
        "dup_pkthdr",
        "dupcl",
        "extadd",
        "extaddref",
        "fill",
        "free",
        "freem",
        "grow",
        "move_pkthdr",
        "page",
        "prepend",
        "tag_copy_chain",
        "tag_delete",
        "tag_delete_chain",
        "tag_delete_nonpersistent",
        "tag_find",
        "tag_locate",
        "tag_prepend",
        "tag_unlink",
        "unmapped_compress",
    ]
)

#: Objects that aren't mbufs; uncompiled, this is found only by a missing attribute.
NO_MBUF = (Inval, TypeError) if compiled() else (Inval, TypeError, AttributeError)

LONG = 1_000_000 if compiled() else 20_000


#: A debug pool finds writes to freed memory.
POOL_KINDS = ["debug"]


def let_go(*things: Any) -> None:
    """Free those of these objects that are mbufs and not freed yet."""
    for thing in things:
        if isinstance(thing, Mbuf) and "freed" not in repr(thing):
            thing.freem()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_arguments_that_are_right_are_right(pool: Pool, name: str) -> None:
    chains = packet(pool)
    second = chains[0].next
    with resolved(pool, name, chains[0]) as arguments:
        if name in WRONG:
            with pytest.raises(WRONG[name]):
                getattr(chains[0], name)(*arguments)
        else:
            made = getattr(chains[0], name)(*arguments)
            let_go(*(made if isinstance(made, list) else [made]))
    let_go(*chains, second)


@pytest.mark.parametrize(("name", "n"), NUMBERS)
def test_a_number_that_cannot_be_right_changes_nothing(pool: Pool, name: str, n: int) -> None:
    chains = packet(pool)
    for bad in BAD:
        if RIGHT.get((name, n), lambda n: False)(bad):
            continue
        with resolved(pool, name, chains[0]) as arguments:
            before = snapshot(pool, *chains), [repr(argument) for argument in arguments]
            arguments[n] = bad
            with pytest.raises((Inval, TypeError)):
                getattr(chains[0], name)(*arguments)
            arguments[n] = ARGUMENTS[name][n]
            assert (snapshot(pool, *chains), [repr(argument) for argument in arguments]) == before
    pool.free_bulk(chains)


@pytest.mark.parametrize(("name", "n"), OBJECTS)
def test_what_is_not_a_such_thing_changes_nothing(pool: Pool, name: str, n: int) -> None:
    chains = packet(pool)
    for bad in (None, 1, "m", b"m", object(), pool):
        if bad is None and name == "tag_delete_chain":
            continue
        with resolved(pool, name, chains[0]) as arguments:
            before, kept = snapshot(pool, *chains), arguments[n]
            arguments[n] = bad
            with pytest.raises(NO_MBUF):
                getattr(chains[0], name)(*arguments)
            arguments[n] = kept
            del kept
            assert snapshot(pool, *chains) == before
    pool.free_bulk(chains)


@pytest.mark.parametrize("how", [*BAD, 0, 3])
@pytest.mark.parametrize("name", WAITING)
def test_an_unknown_how_is_an_error(pool: Pool, name: str, how: Any) -> None:
    chains = packet(pool)
    before = snapshot(pool, *chains)
    arguments = [argument for argument in ARGUMENTS[name][:-1]]
    for keywords in ({"how": how}, {"how": how, "timeout": 0}):
        with pytest.raises((Inval, TypeError)):
            getattr(chains[0], name)(*arguments, **keywords)
        assert snapshot(pool, *chains) == before
    pool.free_bulk(chains)


@pytest.mark.parametrize(("timeout", "error"), [(-1, Inval), (float("nan"), Inval), ("1", TypeError), ([], TypeError)])
@pytest.mark.parametrize("name", WAITING)
def test_an_invalid_timeout_is_an_error(pool: Pool, name: str, timeout: Any, error: type[Exception]) -> None:
    chains = packet(pool)
    before = snapshot(pool, *chains)
    with pytest.raises(error):
        getattr(chains[0], name)(*ARGUMENTS[name][:-1], M_WAITOK, timeout)
    assert snapshot(pool, *chains) == before
    pool.free_bulk(chains)


@pytest.mark.parametrize("how", [(), (M_NOWAIT,)])
@pytest.mark.parametrize("name", [*WAITING, "addpages", "insert", "remove"])
def test_a_timeout_needs_a_call_that_waits(pool: Pool, name: str, how: tuple[int, ...]) -> None:
    chains = packet(pool)
    with resolved(pool, name, chains[0]) as arguments:
        before = snapshot(pool, *chains)
        with pytest.raises(Inval, match=r"^timeout 5: .* give how=M_WAITOK"):
            getattr(chains[0], name)(*arguments[:-1], *how, timeout=5)
        assert snapshot(pool, *chains) == before
    pool.free_bulk(chains)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_where_an_mbuf_inside_was_freed_nothing_is_done(pool: Pool, name: str) -> None:
    chains = packet(pool)
    m, other = chains
    last, second = m.last(), m.next
    assert second is not None
    m.flags |= M_PROTO1
    second.free()
    with resolved(pool, name, m) as arguments:
        before = mbuf_state(m), mbuf_state(last), snapshot(pool, other)
        if name in LOCAL:
            if name in WRONG:
                with pytest.raises(WRONG[name]):
                    getattr(m, name)(*arguments)
            else:
                let_go(getattr(m, name)(*arguments))
        else:
            with pytest.raises(Freed):
                getattr(m, name)(*arguments)
            assert (mbuf_state(m), mbuf_state(last), snapshot(pool, other)) == before
        assert bytes(last) == sample(100)
        assert bytes(other) == sample(100) * 3
        let_go(m, last, other)


def test_sanity_heals_nothing_where_an_mbuf_was_freed(pool: Pool) -> None:
    m, other = packet(pool)
    last = m.last()
    last.nextpkt = pool.get()
    m.cat(pool.getcl(flags=0).append(bytes(2048)))
    gone = m.last()
    gone.free()
    before = mbuf_state(m), mbuf_state(last), snapshot(pool, other)
    with pytest.raises(Freed):
        m.sanity(True)
    assert (mbuf_state(m), mbuf_state(last), snapshot(pool, other)) == before
    let_go(last.nextpkt, m, other)


# Very long chains.


@pytest.fixture(scope="module")
def endless() -> Iterator[tuple[Pool, Mbuf]]:
    """A packet of very many mbufs with a byte each."""
    pool = Pool(vm=Vm(1 << 36), worker=False)
    m = last = pool.gethdr().append(b"x")
    for _ in range(LONG - 1):
        n = pool.get()
        n.append(b"x")
        last.next = n
        last = n
    m.fixhdr()
    del last, n
    yield pool, m
    m.freem()
    assert (pool.out, pool.stat().drops) == (0, 0)
    pool.close()


def whole(m: Mbuf, size: int = LONG) -> None:
    assert (m.length(), m.fixhdr()) == (size, size)


def test_an_endless_chain_is_read(endless: tuple[Pool, Mbuf]) -> None:
    _, m = endless
    assert len(bytes(m)) == LONG
    assert m.copydata(LONG - 10, 10) == b"x" * 10
    assert m.find(b"y") == -1
    assert m.getptr(LONG - 1) == (m.last(), 0)
    seen = count()
    m.apply(0, LONG, lambda view: next(seen) < 0)
    assert next(seen) == LONG
    assert 0 <= m.in_cksum() <= 0xFFFF
    assert m.sanity()
    assert m.sanity(True)


def test_an_endless_chain_is_cut_and_joined(endless: tuple[Pool, Mbuf]) -> None:
    pool, m = endless
    m.clrprotoflags().demote()
    m.adj(1).adj(-1)
    whole(m, LONG - 2)
    tail = m.split(LONG // 2)
    whole(tail, LONG - 2 - LONG // 2)
    m.catpkt(tail)
    m.cat(pool.get().append(b"x")).append(b"x")
    m.copyback(LONG - 1, b"xx").adj(-1)
    whole(m)


def test_an_endless_chain_is_copied(endless: tuple[Pool, Mbuf]) -> None:
    _, m = endless
    whole(m)
    for copy in (lambda: m.copym(), lambda: m.copym(LONG // 2), lambda: m.copypacket(), lambda: m.dup()):
        n = copy()
        assert n.length() in (LONG, LONG - LONG // 2)
        n.freem()


def test_an_endless_chain_is_gathered(endless: tuple[Pool, Mbuf]) -> None:
    _, m = endless
    m.prepend(100).adj(100)
    m.pullup(168).copyup(100, 68)
    n, at = m.pulldown(LONG // 2, 2048)
    assert n.copydata(at, 2048) == b"x" * 2048
    n, at = m.makespace(LONG - 1000, 100)
    whole(m, LONG + 100)
    m.adj(-100)
    whole(m)


def test_an_endless_chain_is_laid_out_anew(endless: tuple[Pool, Mbuf]) -> None:
    _, m = endless
    whole(m.unshare())
    with pytest.raises(Inval):
        m.collapse(2)
    whole(m.collapse(LONG // 2))
    whole(m.fragment(100))
    whole(m.defrag())
