"""Invalid arguments of every method that allocates."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import (
    M_COPYFLAGS,
    M_EOR,
    M_EXT,
    M_EXTPG,
    M_NOFREE,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    M_WAITOK,
    MT_NOINIT,
    Inval,
    NoBufs,
    Pool,
)

HUGE = [2**31, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**64, 10**30]
BAD_HOW = [0, 3, 4, -1, -(2**63) - 1, *HUGE]
BAD_TYPE = [0, -1, MT_NOINIT, 256, 257, -(2**31), -(2**63) - 1, *HUGE]
BAD_FLAGS = [M_EXT, M_EXTPG, M_NOFREE, 1 << 24, -1, -(2**31), -(2**63) - 1, *HUGE]
BAD_TIMEOUT = [-1, -0.001, float("-inf"), float("nan"), -(2**64)]
NO_NUMBER: list[Any] = ["1", b"1", None, 1.0, 1.5, [1]]
NO_TIMEOUT: list[Any] = ["1", b"1", [1]]

#: The methods, their required arguments, and their other parameters.
VERBS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "get": ({}, ("how", "type", "timeout")),
    "gethdr": ({}, ("how", "type", "timeout")),
    "getcl": ({}, ("how", "type", "flags", "timeout")),
    "getjcl": ({}, ("how", "type", "flags", "timeout", "size")),
    "get2": ({"size": 100}, ("how", "type", "flags", "timeout")),
    "getm2": ({"len": 100}, ("how", "type", "flags", "timeout")),
    "getcl_bulk": ({"n": 3}, ("how", "type", "flags", "timeout")),
    "clget": ({"m": None}, ("how", "timeout")),
    "cljget": ({"m": None}, ("how", "timeout", "size")),
}

#: The other methods that may wait.
MORE_VERBS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "get_row": ({"n": 3}, ()),
    "getjcl_bulk": ({"n": 3}, ()),
    "alloc_ext_pgs": ({}, ()),
    "alloc_ext_plus_pages": ({"len": 100}, ()),
    "frombytes": ({"data": b"x"}, ()),
}

BAD: dict[str, list[Any]] = {
    "how": BAD_HOW,
    "type": BAD_TYPE,
    "flags": BAD_FLAGS,
    "timeout": BAD_TIMEOUT,
    "size": [0, -1, 1, 2047, 2049, 256, 16385, -(2**63) - 1, *HUGE],
}

CASES = [(verb, name, bad) for verb, (_, names) in VERBS.items() for name in names for bad in BAD[name]]
JUNK = [
    (verb, name, bad)
    for verb, (_, names) in VERBS.items()
    for name in names
    for bad in (NO_TIMEOUT if name == "timeout" else NO_NUMBER)
]


@pytest.fixture
def plain(make: Callable[..., Pool]) -> Pool:
    return make()


def call_with(pool: Pool, verb: str, name: str, value: Any) -> Any:
    arguments = VERBS[verb][0] | {name: value}
    if name == "timeout":
        arguments["how"] = M_WAITOK
    bare = pool.get() if verb in ("clget", "cljget") else None
    try:
        if bare is not None:
            arguments["m"] = bare
        return getattr(pool, verb)(**arguments)
    finally:
        if bare is not None:
            assert bare.ext is None
            bare.free()


@pytest.mark.parametrize(("verb", "name", "bad"), CASES)
def test_what_cannot_be_requested_is_refused_and_nothing_is_taken(plain: Pool, verb: str, name: str, bad: Any) -> None:
    with pytest.raises(Inval):
        call_with(plain, verb, name, bad)
    assert [zone.stat().fails for zone in plain.zones.all()] == [0] * 6


def test_a_size_in_the_place_of_how_is_explained(plain: Pool) -> None:
    with pytest.raises(
        Inval, match=r"how 4096: give M_NOWAIT or M_WAITOK, and a size by its name, as in getjcl\(size="
    ):
        plain.getjcl(4096)


@pytest.mark.parametrize(("verb", "name", "junk"), JUNK)
def test_what_is_not_a_number_is_refused_and_nothing_is_taken(plain: Pool, verb: str, name: str, junk: Any) -> None:
    with pytest.raises((TypeError, Inval)):
        call_with(plain, verb, name, junk)
    assert [zone.stat().fails for zone in plain.zones.all()] == [0] * 6


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_argument_is_refused(plain: Pool, verb: str) -> None:
    with pytest.raises(TypeError, match="colour"):
        getattr(plain, verb)(**VERBS[verb][0], colour=1)


@pytest.mark.parametrize(
    ("verb", "name", "bad"),
    [
        *(("getm2", "len", bad) for bad in (0, -1, -(2**31), -(2**63) - 1)),
        *(("get2", "size", bad) for bad in (4097, *HUGE)),
        *(("getcl_bulk", "n", bad) for bad in (-1, -(2**31), -(2**63) - 1)),
    ],
)
def test_so_many_bytes_or_packets_cannot_be(plain: Pool, verb: str, name: str, bad: int) -> None:
    with pytest.raises(Inval):
        getattr(plain, verb)(**{name: bad})
    assert plain.out == 0


@pytest.mark.parametrize(("verb", "name"), [("getm2", "len"), ("getcl_bulk", "n")])
@pytest.mark.parametrize("huge", HUGE)
def test_more_than_there_can_be_is_denied_and_nothing_is_kept(
    small: Callable[..., Pool], verb: str, name: str, huge: int
) -> None:
    pool = small()
    with pytest.raises(NoBufs):
        getattr(pool, verb)(**{name: huge})
    assert pool.out == 0


@pytest.mark.parametrize("type_", [1, 2, 4, 8, 14, 254])
def test_any_type_but_the_two_that_are_none_is_given(plain: Pool, type_: int) -> None:
    for verb, (arguments, names) in VERBS.items():
        if "type" in names:
            got = getattr(plain, verb)(type=type_, **arguments)
            for m in got if isinstance(got, list) else [got]:
                assert m.type == type_
                m.freem()


@pytest.mark.parametrize("flags", [0, M_PKTHDR, M_RDONLY, M_EOR | M_PKTHDR, M_COPYFLAGS])
def test_flags_that_travel_with_a_packet_are_given(plain: Pool, flags: int) -> None:
    for m in (plain.getcl(flags=flags), plain.getjcl(flags=flags), *plain.getcl_bulk(2, flags=flags)):
        assert m.flags == flags | M_EXT
        m.free()
    m = plain.get2(100, flags=flags)
    assert (m.flags, m.size) == (flags, 168 if flags & M_PKTHDR else 224)
    m.free()


@pytest.mark.parametrize("timeout", [0, 0.0, 0.001, 10, 1e10, 1e300, float("inf"), None, True])
def test_a_wait_that_is_not_needed_may_be_of_any_length(plain: Pool, timeout: float | None) -> None:
    for verb, (arguments, _) in VERBS.items():
        wanted = arguments | {"how": M_WAITOK, "timeout": timeout}
        if verb == "clget":
            wanted["m"] = plain.get()
        got = getattr(plain, verb)(**wanted)
        for m in got if isinstance(got, list) else [got]:
            m.free()


@pytest.mark.parametrize("timeout", [1e10, 1e300, float("inf")])
def test_a_very_long_wait_is_a_wait(
    make: Callable[..., Pool],
    few: Callable[..., dict[str, int]],
    spawn: Callable[[Callable[[], object]], Any],
    eventually: Callable[..., None],
    timeout: float,
) -> None:
    pool = make(few(clusters=2))
    taken = pool.getcl_bulk(2)
    waiter = spawn(lambda: pool.getcl(M_WAITOK, timeout=timeout))
    eventually(lambda: len(pool.zones.clust.limiter.waiters) == 1)
    pool.free_bulk(taken)
    waiter.done().free()


@pytest.mark.parametrize("verb", VERBS)
def test_a_wait_of_no_time_is_over_at_once(
    make: Callable[..., Pool], few: Callable[..., dict[str, int]], verb: str
) -> None:
    pool = make(few(clusters=2, jumbop=1, mbufs=7))
    bare = pool.get()
    clusters = pool.getcl_bulk(2), pool.cljget(None, size=4096)
    mbufs = []
    while True:
        try:
            mbufs.append(pool.get())
        except NoBufs:
            break
    arguments = VERBS[verb][0] | {"how": M_WAITOK, "timeout": 0}
    if "m" in arguments:
        arguments["m"] = bare
    before = [(zone.used, zone.limiter.items) for zone in pool.zones.all()]
    start = time.monotonic()
    with pytest.raises(NoBufs):
        getattr(pool, verb)(**arguments)
    assert time.monotonic() - start < 60
    assert [(zone.used, zone.limiter.items) for zone in pool.zones.all()] == before
    assert not any(zone.exhausted or zone.bypassed for zone in pool.zones.all())
    bare.free()
    pool.free_bulk(mbufs)
    pool.free_bulk(clusters[0])
    clusters[1].free()


@pytest.mark.parametrize("timeout", [0, 1, -1, "1"])
@pytest.mark.parametrize("keywords", [{}, {"how": M_NOWAIT}])
def test_a_timeout_needs_a_call_that_waits(plain: Pool, keywords: dict[str, int], timeout: Any) -> None:
    bare = plain.get()
    before = plain.out
    for verb, (arguments, _) in {**VERBS, **MORE_VERBS}.items():
        given = arguments | keywords | {"timeout": timeout}
        if "m" in arguments:
            given["m"] = bare
        with pytest.raises(Inval, match=r"^timeout .*: give how=M_WAITOK"):
            getattr(plain, verb)(**given)
    with pytest.raises(Inval, match=r"^timeout .*: give how=M_WAITOK"):
        plain.reserve.reinit(1, 1, timeout=timeout, **keywords)
    assert (plain.out, bare.ext) == (before, None)
    bare.free()
