import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import pytest

from mbuf import (
    EXT_JUMBO9,
    M_EOR,
    M_EXT,
    M_NOWAIT,
    M_PKTHDR,
    M_WAITOK,
    MJUM9BYTES,
    MJUM16BYTES,
    MJUMPAGESIZE,
    MT_DATA,
    MT_HEADER,
    PROBES,
    Busy,
    Freed,
    Inval,
    Mbuf,
    MbufQ,
    NoBufs,
    Pool,
)

Make = Callable[..., Pool]
Few = Callable[..., dict[str, int]]
Fired = list[tuple[Any, ...]]


@contextmanager
def recording(pool: Pool, *names: str) -> Iterator[Fired]:
    """The firings of these probes, or of all but m-init, in order; an mbuf is its `id`."""
    fired: Fired = []

    def tell(name: str, *args: Any) -> None:
        fired.append((name, *(arg.id if isinstance(arg, Mbuf) else arg for arg in args)))

    with ExitStack() as stack:
        for name in names or set(PROBES) - {"m-init"}:
            stack.enter_context(pool.probes.attached(name, partial(tell, name)))
        yield fired


def test_the_table_has_the_kernels_ten() -> None:
    verbs = ["init", "get", "gethdr", "getcl", "getjcl", "clget", "cljget", "cljset", "free", "freem"]
    assert list(PROBES) == [f"m-{verb}" for verb in verbs]
    assert all(probe.name == name and probe.args and probe.sentence.endswith(".") for name, probe in PROBES.items())


def test_each_call_that_allocates_shows_what_was_requested_and_what_came(make: Make) -> None:
    pool = make()
    with recording(pool) as fired:
        mbufs = [
            pool.get(),
            pool.get(M_WAITOK, MT_HEADER),
            pool.gethdr(),
            pool.getcl(),
            pool.getcl(M_NOWAIT, MT_DATA, 0),
            pool.getjcl(size=2048),
            pool.getjcl(size=MJUM16BYTES),
        ]
    assert fired == [
        ("m-get", M_NOWAIT, MT_DATA, mbufs[0].id),
        ("m-get", M_WAITOK, MT_HEADER, mbufs[1].id),
        ("m-gethdr", M_NOWAIT, MT_DATA, mbufs[2].id),
        ("m-getcl", M_NOWAIT, MT_DATA, M_PKTHDR, mbufs[3].id),
        ("m-getcl", M_NOWAIT, MT_DATA, 0, mbufs[4].id),
        ("m-getcl", M_NOWAIT, MT_DATA, M_PKTHDR, mbufs[5].id),
        ("m-getjcl", M_NOWAIT, MT_DATA, M_PKTHDR, MJUM16BYTES, mbufs[6].id),
    ]
    fired.clear()
    for m in mbufs:
        m.free()


def test_m_init_is_fired_before_the_probe_of_the_call_and_alone_by_get2(make: Make) -> None:
    pool = make()
    with recording(pool, *PROBES) as fired:
        m = pool.gethdr()
        small, large, jumbo = pool.get2(100), pool.get2(2000), pool.get2(4000, flags=M_EOR)
        own = pool.init()
    init = ("m-init", m.id, M_NOWAIT, MT_DATA, M_PKTHDR, 0)
    assert fired[:2] == [init, ("m-gethdr", M_NOWAIT, MT_DATA, m.id)]
    assert [(line[0], line[1]) for line in fired[2:]] == [("m-init", n.id) for n in (small, large, jumbo, own)]
    fired.clear()
    for n in (m, small, large, jumbo, own):
        n.free()


def test_a_chain_shows_each_of_its_mbufs(make: Make) -> None:
    pool = make()
    with recording(pool) as fired:
        m = pool.getm2(4096 + 2048)
        rest = list(fired)
        m.freem()
    assert [line[0] for line in rest] == ["m-getjcl", "m-getcl"]
    assert [line[0] for line in fired[2:]] == ["m-freem", "m-free", "m-free"]


def test_bulk_calls_tell_of_each_packet(make: Make) -> None:
    pool = make()
    with recording(pool) as fired:
        packets = pool.getcl_bulk(2)
        first, second = (m.id for m in packets)
        pool.free_bulk(packets)
    assert fired == [
        ("m-getcl", M_NOWAIT, MT_DATA, M_PKTHDR, first),
        ("m-getcl", M_NOWAIT, MT_DATA, M_PKTHDR, second),
        ("m-freem", first),
        ("m-free", first),
        ("m-freem", second),
        ("m-free", second),
    ]


def test_clusters_tell_of_themselves(make: Make) -> None:
    pool = make()
    m, n, o = pool.get(), pool.get(), pool.get()
    with recording(pool) as fired:
        pool.clget(m)
        pool.cljget(n, size=MJUMPAGESIZE)
        cluster: Any = pool.cljget(None, size=MJUM9BYTES)
        o.cljset(cluster)
    assert fired == [
        ("m-clget", m.id, M_NOWAIT),
        ("m-cljget", n.id, M_NOWAIT, MJUMPAGESIZE, n.id),
        ("m-cljget", None, M_NOWAIT, MJUM9BYTES, cluster),
        ("m-cljset", o.id, cluster, EXT_JUMBO9),
    ]
    fired.clear()
    for each in (m, n, o):
        each.free()


def test_refusals_are_reported_as_the_kernel_shows_them(make: Make, few: Few) -> None:
    pool = make(few(clusters=1, jumbop=1, jumbo9=1, jumbo16=1, mbufs=16), caching=False)
    held = [pool.getcl(), pool.getjcl(size=MJUM9BYTES), pool.get()]
    with recording(pool) as fired:
        for ask in (pool.getcl, lambda: pool.clget(held[2]), lambda: pool.getjcl(size=MJUM9BYTES)):
            with pytest.raises(NoBufs):
                ask()
        with pytest.raises(NoBufs):
            pool.cljget(None, size=MJUM9BYTES)
    assert not held[2].flags & M_EXT
    assert fired == [
        ("m-getcl", M_NOWAIT, MT_DATA, M_PKTHDR, None),
        ("m-clget", held[2].id, M_NOWAIT),
        ("m-cljget", None, M_NOWAIT, MJUM9BYTES, None),
    ]
    with suppress(NoBufs):
        while True:
            held.append(pool.get())
    with recording(pool) as fired:
        for ask in (pool.get, pool.gethdr):
            with pytest.raises(NoBufs):
                ask()
    assert fired == [("m-get", M_NOWAIT, MT_DATA, None), ("m-gethdr", M_NOWAIT, MT_DATA, None)]
    for m in held:
        m.free()


def test_verbs_tell_of_the_mbufs_that_they_get_and_free(make: Make) -> None:
    pool = make()
    m = pool.gethdr().append(bytes(100))
    with recording(pool) as fired:
        m.prepend(80)
        m.defrag()
    names = [line[0] for line in fired]
    assert names[0] == "m-gethdr"
    assert "m-free" in names
    m.freem()


def test_nothing_is_freed_for_nothing(make: Make) -> None:
    pool = make()
    with recording(pool) as fired:
        pool.freem(None)
    assert fired == [("m-freem", None)]


def test_a_dropped_mbuf_is_reported_as_freed(make: Make) -> None:
    pool = make()
    pool.getcl().next = pool.get()
    with recording(pool, "m-free") as fired:
        pool.getcl().next = pool.get()
        gc.collect()
        names = [line[0] for line in fired]
        fired.clear()
    assert names == ["m-free", "m-free"]


def test_the_owner_of_shared_storage_is_reported_as_freed_once(make: Make) -> None:
    pool = make()
    shown = []
    m = pool.wrap(bytearray(10), shown.append)
    n = m.copypacket()
    with recording(pool, "m-free") as fired:
        expected = [("m-free", m.id), ("m-free", n.id)]
        m.free()
        n.free()
    assert fired == expected
    assert len(shown) == 1


def test_a_freed_mbuf_has_no_ext(make: Make) -> None:
    pool = make()
    m = pool.get()
    m.free()
    with recording(pool) as fired:
        for verb in (m.free, m.freem):
            with pytest.raises(ReferenceError):
                verb()
    assert not fired


def test_the_reserve_fires_probes(make: Make) -> None:
    pool = make()
    pool.reserve.reinit(1, 1)
    with recording(pool) as fired, pool.reserve.active():
        m = pool.getcl()
        m.free()
    assert [line[0] for line in fired] == ["m-getcl", "m-free"]
    pool.reserve.drain()


@pytest.mark.parametrize("name", ["m-free", "m-freem"])
@pytest.mark.parametrize("verb", ["freem", "free_bulk", "free"])
def test_what_is_freed_is_free_though_a_listener_ends_the_program(make: Make, name: str, verb: str) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    pool = make()
    m = pool.getm2(9000)
    n = m.next
    if verb == "free" and n is not None:
        m.next = None
        n.freem()
    packets = [m]
    with pool.probes.attached(name, end), suppress(KeyboardInterrupt):
        pool.free_bulk(packets) if verb == "free_bulk" else getattr(m, verb)()
    assert pool.out == 0
    assert pool.stat().drops == 0


def test_a_listener_may_allocate_unrecording(make: Make) -> None:
    pool = make()
    fired: Fired = []

    def listener(how: int, type: int, m: Any) -> None:
        fired.append((how, type, m.id))
        pool.get().free()

    with pool.probes.attached("m-get", listener):
        m = pool.get()
    assert fired == [(M_NOWAIT, MT_DATA, m.id)]
    m.free()


MANY: dict[str, tuple[Any, ...]] = {
    "getcl_bulk": (3,),
    "getjcl_bulk": (3,),
    "get2": (4000,),
    "getm2": (9000,),
    "cljget": (None,),
}


@pytest.mark.parametrize("verb", ["get", "gethdr", "getcl", "getjcl", *MANY])
def test_a_listener_that_ends_the_program_costs_no_memory(make: Make, verb: str) -> None:
    pool = make()
    args = MANY.get(verb, ())

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    for name in PROBES:
        if "free" in name:
            continue
        with pool.probes.attached(name, end), suppress(KeyboardInterrupt):
            got = getattr(pool, verb)(*args)
            if isinstance(got, list):
                pool.free_bulk(got)
            else:
                got.free() if verb == "cljget" else got.freem()
    gc.collect()
    assert (pool.out, pool.stat().drops) == (0, 0)


def test_attach_refuses_what_it_cannot_call_and_names_that_are_none(make: Make) -> None:
    pool = make()
    bad: Any = 5
    with pytest.raises(Inval, match="unknown probe 'm-getc': did you mean m-getcl"):
        pool.probes.attach("m-getc", print)
    with pytest.raises(Inval, match="give a function to call, not 5"):
        pool.probes.attach("m-get", bad)
    assert not pool.probes.on


def test_a_detached_listener_is_not_called(make: Make) -> None:
    pool = make()
    fired: Fired = []

    def listener(*args: Any) -> None:
        fired.append(args)

    pool.probes.attach("m-get", listener)
    pool.probes.detach("m-get", listener)
    with pytest.raises(Inval, match="is not attached to it"):
        pool.probes.detach("m-get", listener)
    with pytest.raises(Inval, match="unknown probe 'm-got'"):
        pool.probes.detach("m-got", listener)
    pool.get().free()
    assert not fired
    assert not pool.probes.on


def test_a_closed_pool_calls_no_listener(make: Make) -> None:
    pool = make()
    pool.probes.attach("m-free", print)
    pool.close()
    assert not pool.probes.on


@pytest.mark.parametrize("verb", ["get", "gethdr", "getcl"])
def test_a_listener_ends_the_program_also_where_there_is_not_a_mbuf(make: Make, few: Few, verb: str) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    pool = make(few())
    taken = pool.getcl_bulk(10) + [pool.get() for _ in range(40)]
    with pool.probes.attached(f"m-{verb}", end), pytest.raises(KeyboardInterrupt) as caught:
        getattr(pool, verb)()
    assert isinstance(caught.value.__context__, NoBufs)
    assert (pool.out, pool.stat().refused) == (50, 1)
    pool.audit()
    pool.free_bulk(taken)


@pytest.mark.parametrize("verb", ["get", "gethdr", "getcl", "getjcl"])
def test_an_mbuf_is_freed_once_whose_listener_ends_the_program(make: Make, verb: str) -> None:
    def end(*args: Any) -> None:
        raise KeyboardInterrupt

    pool = make()
    with pool.probes.attached(f"m-{verb}", end), pytest.raises(KeyboardInterrupt):
        getattr(pool, verb)()
    assert (pool.out, pool.stat().drops) == (0, 0)
    pool.audit()


#: What a listener may try to do with an mbuf.
TRIES: dict[str, Callable[[Pool, Mbuf], object]] = {
    "free": lambda pool, m: m.free(),
    "freem": lambda pool, m: m.freem(),
    "link": lambda pool, m: setattr(m, "next", None),
    "nextpkt": lambda pool, m: setattr(m, "nextpkt", None),
    "append": lambda pool, m: m.append(b"x"),
    "extadd": lambda pool, m: m.extadd(bytearray(10)),
    "clget": lambda pool, m: pool.clget(m),
    "cljget": lambda pool, m: pool.cljget(m),
    "copym": lambda pool, m: m.copym(),
    "queue": lambda pool, m: MbufQ().enqueue(m),
    "demote": lambda pool, m: m.demote_pkthdr(),
    "free_bulk": lambda pool, m: pool.free_bulk([m]),
    "getm2": lambda pool, m: pool.getm2(5000, m=m),
    "flags": lambda pool, m: setattr(m, "flags", m.flags | M_EOR),
}

#: Methods that allocate several mbufs, on a chain of 4,400 bytes.
SEVERAL: dict[str, Callable[[Pool, Mbuf], object]] = {
    "copym": lambda pool, m: m.copym(),
    "copypacket": lambda pool, m: m.copypacket(),
    "dup": lambda pool, m: m.dup(),
    "split": lambda pool, m: m.split(50),
    "segment": lambda pool, m: m.segment(100),
    "append": lambda pool, m: m.append(bytes(1000)),
    "copyback": lambda pool, m: m.copyback(4300, bytes(1000)),
    "getm2": lambda pool, m: pool.getm2(9000),
    "frombytes": lambda pool, m: pool.frombytes(bytes(9000)),
    "devget": lambda pool, m: pool.devget(bytes(9000), copy=lambda source, target: None),
    "get_row": lambda pool, m: pool.get_row(5),
    "getjcl_bulk": lambda pool, m: pool.getjcl_bulk(4),
    "mapped_to_unmapped": lambda pool, m: m.mapped_to_unmapped(4000),
    "defrag": lambda pool, m: m.defrag(),
    "fragment": lambda pool, m: m.fragment(70),
}


@pytest.mark.parametrize("act", TRIES)
@pytest.mark.parametrize("verb", SEVERAL)
def test_a_listener_changes_no_new_mbuf_neither_at_once_nor_later(make: Make, verb: str, act: str) -> None:
    pool = make()
    m = pool.gethdr().append(bytes(200))
    for _ in range(2):
        m.last().next = pool.get().append(bytes(100))
        m.last().next = pool.getcl(flags=0).append(bytes(2000))
    m.fixhdr()
    shown: list[Mbuf] = []

    def listener(*args: Any) -> None:
        new = [arg for arg in args if isinstance(arg, Mbuf)]
        shown.extend(new)
        for n in shown:
            with pytest.raises(Busy if n in new else Freed):
                TRIES[act](pool, n)

    with ExitStack() as stack:
        for name in set(PROBES) - {"m-free", "m-freem"}:
            stack.enter_context(pool.probes.attached(name, listener))
        made = SEVERAL[verb](pool, m)
    assert shown
    for n in {id(n): n for n in (m, *(made if isinstance(made, list) else [made])) if isinstance(n, Mbuf)}.values():
        n.freem()
    assert pool.out == 0
    pool.audit()


def test_the_header_that_a_listener_keeps_is_not_that_of_the_packet(make: Make) -> None:
    pool = make()
    kept: list[Any] = []
    with pool.probes.attached("m-getcl", lambda how, type, flags, m: kept.append(m.pkthdr)):
        m = pool.getcl()
    kept[0].rcvif = "em9"
    kept[0].len = 7
    assert (m.pkthdr.rcvif, m.pkthdr.len) == (None, 0)
    m.free()
