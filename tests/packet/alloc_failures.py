"""Refuses each request for memory of a verb in turn: the verb fails and changes nothing, and works afterwards."""

from collections.abc import Callable
from itertools import count
from random import Random

from faults import REFUSED, FaultInjector, call_with_refusal
from mbuf import M_WAITOK, Inval, ReadOnly
from packet.layouts import UNMAPPED
from packet.snapshot import header_state, snapshot
from packet.verb_cases import ALL_LAYOUTS, Keywords, VerbCase, build_chains, check_result, expected_error

#: More requests than any verb makes here.
MAX_REQUESTS = 1000


def fail_on_all_layouts(faults: FaultInjector, case: VerbCase, all_later: bool = True) -> None:
    """Refuse each request of a case's verb, on every layout of a chain."""
    waits: list[Keywords] = [{}, {"how": M_WAITOK, "timeout": 0}] if case.may_wait else [{}]
    for layout, size in ALL_LAYOUTS:
        for keywords in waits:
            if size != 300:
                fail_each_request(faults, case, layout, size, keywords, all_later)


def fail_each_request(
    faults: FaultInjector, case: VerbCase, layout: str, size: int, keywords: Keywords, all_later: bool
) -> None:
    """Refuse each request of a verb in turn, on one layout."""
    pool = faults.pool
    for k in count(1):
        assert k < MAX_REQUESTS
        chains = build_chains(layout, pool, size)
        m = chains[0]
        if expected_error(case, layout, m):
            pool.free_bulk(chains)
            return
        before, header = snapshot(pool, *chains), header_state(m)
        try:
            result, failed = call_with_refusal(faults, k, all_later, lambda m=m: case.call(m, keywords))
            if failed:
                assert snapshot(pool, *chains) == before
                result = case.call(m, keywords)
        except (Inval, ReadOnly):
            assert case.needs_contiguous
            assert layout in UNMAPPED
            assert snapshot(pool, *chains) == before
            pool.free_bulk(chains)
            return
        check_result(case, chains, size, header, result)
        pool.free_bulk(chains)
        assert (pool.out, pool.tags.count, pool.snd_tags.count, pool.stat().drops) == (0, 0, 0, 0)
        if not faults.refusals:
            return


def retry_until_granted(
    faults: FaultInjector, seed: int, call: Callable[[], object], unchanged: Callable[[], None], tries: int = 500
) -> object:
    """Call it until no request of the call is refused at random; after each refusal, nothing has changed."""
    random = Random(seed)
    for _ in range(tries):
        try:
            with faults.failing_at_random(random):
                return call()
        except REFUSED:
            unchanged()
    raise AssertionError(f"refused {tries} times")
