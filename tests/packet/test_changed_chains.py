"""Other code changes the chain at each request of a verb for memory: the verb begins again, and at last raises Busy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from chains import sample
from faults import FaultInjector
from interfaces import SndTagInterface
from mbuf import M_EXTPG, M_PKTHDR, M_PROTO1, PAGE_SIZE, Busy, Freed, Inval, Mbuf, Pool, SockBuf
from packet.layouts import file_mbufs, header_and_unmapped
from packet.snapshot import snapshot
from packet.verb_cases import chain

#: How often a verb begins again.
ROUNDS = 8


@pytest.fixture
def faults(make: Callable[..., Pool]) -> FaultInjector:
    return FaultInjector(make(debug=True))


@contextmanager
def changing(faults: FaultInjector, act: Callable[[], object]) -> Iterator[list[str]]:
    """Within it, `act` is called at each request for memory, which is granted; yields the kinds of the requests."""
    requests: list[str] = []

    def decide(kind: str) -> bool:
        requests.append(kind)
        act()
        return False

    with faults.deciding(decide):
        yield requests


def flag_changer(m: Mbuf, most: int = 1 << 12) -> Callable[[], None]:
    """Returns a function that changes flags of an mbuf in its first `most` calls."""
    count = 0

    def act() -> None:
        nonlocal count
        if count < most:
            count += 1
            m.clrprotoflags()
            m.flags |= count * M_PROTO1

    return act


def clusters(pool: Pool) -> list[Mbuf]:
    return [chain(pool, 300, 300)]


def shared(pool: Pool) -> list[Mbuf]:
    m = chain(pool, 300, 300)
    return [m, m.copypacket()]


def small(pool: Pool) -> list[Mbuf]:
    return [chain(pool, *[30] * 20)]


def behind(pool: Pool) -> list[Mbuf]:
    return header_and_unmapped(pool, sample(600))


def file(pool: Pool) -> list[Mbuf]:
    """Pages of a file, which need windows."""
    return [file_mbufs(pool, sample(200), PAGE_SIZE - 100)]


#: A verb, and another mbuf that it may take.
Call = Callable[[Mbuf, Mbuf], Any]

#: Verbs that allocate, chains for which they allocate, and their names in errors.
VERBS: dict[str, tuple[Callable[[Pool], list[Mbuf]], Call, str]] = {
    "collapse": (small, lambda m, n: m.collapse(2), "collapse"),
    "compact": (shared, lambda m, n: m.compact(), "compact"),
    "copyback": (clusters, lambda m, n: m.copyback(500, b"x" * 5000), "copyback"),
    "copydata": (file, lambda m, n: m.copydata(0, 200), "copydata"),
    "copym": (clusters, lambda m, n: m.copym(100, 400), "copym"),
    "copypacket": (clusters, lambda m, n: m.copypacket(), "copym"),
    "copyup": (clusters, lambda m, n: m.copyup(100, 20), "copyup"),
    "defrag": (small, lambda m, n: m.defrag(), "defrag"),
    "dup": (clusters, lambda m, n: m.dup(), "dup"),
    "fragment": (shared, lambda m, n: m.fragment(200), "fragment"),
    "insert": (clusters, lambda m, n: m.insert(100, n), "insert"),
    "makespace": (shared, lambda m, n: m.makespace(100, 50), "makespace"),
    "mapped_to_unmapped": (clusters, lambda m, n: m.mapped_to_unmapped(100, 300), "mapped_to_unmapped"),
    "pulldown over a border": (shared, lambda m, n: m.pulldown(250, 100), "pulldown"),
    "pulldown to a start": (clusters, lambda m, n: m.pulldown(50, 100, True), "pulldown"),
    "pullup": (clusters, lambda m, n: m.pullup(100), "pullup"),
    "remove": (shared, lambda m, n: m.remove(100, 50), "remove"),
    "segment": (clusters, lambda m, n: m.segment(100), "segment"),
    "split": (clusters, lambda m, n: m.split(100), "split"),
    "unmapped_compress": (file, lambda m, n: m.unmapped_compress(), "unmapped_compress"),
    "unmapped_to_ext": (behind, lambda m, n: m.unmapped_to_ext(), "unmapped_to_ext"),
    "unshare": (shared, lambda m, n: m.unshare(), "unshare"),
}


def made(result: Any) -> list[Any]:
    """What a verb returns, as a list."""
    return [*result] if isinstance(result, list | tuple) else [result]


def free(*things: Any) -> None:
    """Free those of these objects that are mbufs and not freed yet."""
    for m in things:
        if isinstance(m, Mbuf) and "freed" not in repr(m):
            m.freem()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_gives_up_on_a_chain_that_changes_at_each_request(faults: FaultInjector, verb: str) -> None:
    build, call, name = VERBS[verb]
    pool = faults.pool
    chains, n = build(pool), pool.getcl(flags=0).append(b"more")
    m = chains[0]
    before, flags = snapshot(pool, *chains, n), m.flags
    with (
        changing(faults, flag_changer(m)) as requests,
        pytest.raises(Busy, match=f"^{name}: other code changed the chain"),
    ):
        call(m, n)
    assert len(requests) % ROUNDS == 0
    m.clrprotoflags()
    assert (m.flags, snapshot(pool, *chains, n)) == (flags, before)
    free(*chains, n)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_begins_again_with_a_chain_that_has_changed(faults: FaultInjector, verb: str) -> None:
    build, call, _ = VERBS[verb]
    pool = faults.pool
    found = []
    for most in (0, 1):
        chains, n = build(pool), pool.getcl(flags=0).append(b"more")
        m = chains[0]
        with changing(faults, flag_changer(m, most)) as requests:
            results = made(call(m, n))
        assert requests
        found.append([bytes(thing) if isinstance(thing, Mbuf) else thing for thing in [*chains, *results]])
        free(*chains, *results, n)
        assert (pool.out, pool.tags.count) == (0, 0)
    assert found[0] == found[1]


def test_a_header_that_comes_and_goes_lets_nothing_be_prepended(faults: FaultInjector) -> None:
    pool = faults.pool
    m, spare = pool.getcl().append(b"data"), [pool.gethdr() for _ in range(ROUNDS)]

    def act() -> None:
        if m.flags & M_PKTHDR:
            m.demote_pkthdr()
        else:
            m.move_pkthdr(spare[-1])
            spare.pop().free()

    with changing(faults, act) as requests, pytest.raises(Busy, match="prepend: other code changed the chain"):
        m.prepend(20)
    assert (len(requests), bytes(m)) == (ROUNDS, b"data")
    free(m, *spare)


def test_an_mbuf_that_loses_its_header_gets_room_in_front_without_one(faults: FaultInjector) -> None:
    m = faults.pool.getcl().append(b"data")
    calls = iter([m.demote_pkthdr])
    with changing(faults, lambda: next(calls, int)()):
        m.prepend(100)
    assert (m.len, m.flags & M_PKTHDR, bytes(m)[100:]) == (100, 0, b"data")
    m.freem()


@pytest.mark.parametrize("less", [1, 1500])
def test_data_is_appended_to_what_is_there_then(faults: FaultInjector, less: int) -> None:
    m = faults.pool.getcl().append(sample(2048))
    calls = iter([lambda: m.adj(-less)])
    with changing(faults, lambda: next(calls, int)()):
        m.append(b"x" * 1000)
    assert bytes(m) == sample(2048)[:-less] + b"x" * 1000
    m.freem()


def test_a_chain_that_grows_shorter_and_shorter_is_not_appended_to(faults: FaultInjector) -> None:
    m = faults.pool.getcl().append(sample(2048))
    with changing(faults, lambda: m.adj(-1)), pytest.raises(Busy, match="append: other code changed the chain"):
        m.append(b"x" * 2048)
    assert bytes(m) == sample(2048)[: len(m)]
    m.freem()


def test_tags_that_change_places_are_not_copied(faults: FaultInjector) -> None:
    pool = faults.pool
    m, n = pool.gethdr(), pool.gethdr()
    for id in (3, 5):
        n.tag_prepend(pool.tag_get(id, bytearray(4)))

    def act() -> None:
        tag = n.tags[-1]
        n.tag_unlink(tag)
        n.tag_prepend(tag)

    with changing(faults, act) as requests, pytest.raises(Busy, match="dup_pkthdr: other code changed the chain"):
        m.dup_pkthdr(n)
    assert requests
    assert (m.tags, {tag.id for tag in n.tags}) == ((), {3, 5})
    free(m, n)


def test_a_buffer_whose_front_goes_all_the_time_is_not_cut(faults: FaultInjector) -> None:
    buffer = SockBuf()
    for size in (100, 2000):
        buffer.append(faults.pool.getcl().append(sample(size)))
    with (
        changing(faults, lambda: buffer.drop(1)) as requests,
        pytest.raises(Busy, match="take: other code changed the chain"),
    ):
        buffer.take(1000)
    assert (len(requests), len(buffer)) == (ROUNDS, 2100 - ROUNDS)
    buffer.clear()


def once(act: Callable[[], object], at: int = 1) -> Callable[[], None]:
    """Returns a function that calls `act` at its n-th call only."""
    count = 0

    def later() -> None:
        nonlocal count
        count += 1
        if count == at:
            act()

    return later


def test_a_packet_of_one_cluster_that_has_changed_is_looked_at_again(faults: FaultInjector) -> None:
    m = faults.pool.getcl().append(sample(600))
    for verb, data in ((m.copypacket, sample(600)), (lambda: m.copym(0, 100), sample(100))):
        with changing(faults, flag_changer(m, 1)) as requests:
            n = verb()
        m.clrprotoflags()
        n.clrprotoflags()
        assert (len(requests), bytes(n), n.flags, n.pkthdr.len) == (2, data, m.flags, len(data))
        n.freem()
        assert faults.pool.out == 1
    m.freem()


def test_a_packet_that_becomes_unmapped_pages_is_not_shared_by_a_header(faults: FaultInjector) -> None:
    pool = faults.pool
    m, pages = pool.gethdr().append(b"data"), pool.frombytes(sample(100), flags=M_EXTPG)

    def act() -> None:
        m.demote_pkthdr()
        m.dupcl(pages)

    with changing(faults, once(act)) as requests, pytest.raises(Inval, match="header can't have unmapped pages"):
        m.copym(0, 4)
    assert (len(requests), bytes(m), pool.out) == (1, sample(100), 2)
    free(m, pages)


#: Verbs that copy bytes after a request, the chain, and the request at which it becomes shorter.
SHORTER: dict[str, tuple[Callable[[Pool], Mbuf], Call, int]] = {
    "compact": (lambda pool: chain(pool, *[30] * 20), lambda m, n: m.compact(), 1),
    "defrag": (lambda pool: chain(pool, *[30] * 20), lambda m, n: m.defrag(), 1),
    "dup": (lambda pool: chain(pool, 2000, 2000), lambda m, n: m.dup(), 2),
    "mapped_to_unmapped": (lambda pool: chain(pool, 300, 300), lambda m, n: m.mapped_to_unmapped(600), 1),
}


@pytest.mark.parametrize("verb", SHORTER)
def test_a_chain_that_grows_shorter_is_read_no_further_than_its_end(faults: FaultInjector, verb: str) -> None:
    build, call, at = SHORTER[verb]
    m = build(faults.pool)
    data = bytes(m)[:100]
    result = None
    with changing(faults, once(lambda: m.adj(100 - len(m)), at)) as requests, suppress(Busy, Inval):
        result = call(m, m)
    assert (len(requests) >= at, bytes(m)) == (True, data)
    assert result is None or bytes(result) == data
    free(m, *([] if result is m else [result]))


def test_pages_of_a_file_that_go_while_others_are_mapped_are_not_read(faults: FaultInjector) -> None:
    m, n = file_mbufs(faults.pool, sample(200), 0), file_mbufs(faults.pool, sample(200), 0)
    m.cat(n)
    with (
        changing(faults, once(lambda: m.adj(-150))) as requests,
        pytest.raises(Busy, match="copydata: other code changed the chain"),
    ):
        m.copydata(0, 400)
    assert (requests, bytes(m)) == (["window"] * 2, sample(200) + sample(200)[:50])
    m.freem()


def test_a_trailer_that_becomes_shorter_is_not_mapped(faults: FaultInjector) -> None:
    (m,) = behind(faults.pool)
    before = bytes(m)

    def act() -> None:
        m.next.epg.trail = b""

    with changing(faults, once(act, 4)), pytest.raises(Busy, match="unmapped_to_ext: other code changed the chain"):
        m.unmapped_to_ext()
    assert faults.pool.out == 2
    m.next.epg.trail = before[-7:]
    assert bytes(m) == before
    m.freem()


def test_a_header_whose_send_tag_changes_is_not_copied(faults: FaultInjector) -> None:
    pool = faults.pool
    m, card = chain(pool, 2000, 2000), SndTagInterface()
    m.pkthdr.snd_tag = pool.snd_tag_alloc(card)
    before = m.pkthdr.snd_tag

    def act() -> None:
        m.pkthdr.snd_tag = pool.snd_tag_alloc(card)

    with changing(faults, once(act, 2)) as requests:
        n = m.dup()
    assert (len(requests), before.refs, m.pkthdr.snd_tag.refs, n.pkthdr.snd_tag is m.pkthdr.snd_tag) == (4, 0, 2, True)
    free(m, n)
    assert (card.refs, pool.snd_tags.count) == (0, 0)


def test_tags_are_not_given_to_an_mbuf_that_loses_its_header(faults: FaultInjector) -> None:
    pool = faults.pool
    m, n = pool.gethdr(), pool.gethdr()
    n.tag_prepend(pool.tag_get(3, bytearray(4)))
    with changing(faults, once(m.demote_pkthdr)) as requests, pytest.raises(Inval, match="no packet header"):
        m.tag_copy_chain(n)
    assert (requests, pool.tags.count, len(n.tags)) == (["tag"], 1, 1)
    free(m, n)


@pytest.mark.parametrize("verb", ["insert", "remove"])
def test_a_chain_that_is_freed_is_not_divided(faults: FaultInjector, verb: str) -> None:
    pool = faults.pool
    m, n = chain(pool, 300, 300), pool.get().append(b"more")
    other = m.copypacket()
    with changing(faults, once(m.freem)), pytest.raises(Freed):
        VERBS[verb][1](m, n)
    assert (pool.out, bytes(n), bytes(other)) == (5, b"more", sample(600))
    free(n, other)
