"""All verbs with cases: on chains with one byte in each mbuf, and in a pool with a budget, while memory is refused."""

from collections.abc import Callable

import pytest

from faults import FaultInjector
from mbuf import Inval, Pool, ReadOnly
from packet.alloc_failures import fail_on_all_layouts, retry_until_granted
from packet.layouts import UNMAPPED
from packet.one_byte_mbufs import SUFFIX
from packet.snapshot import header_state, snapshot
from packet.test_append import CASES as APPEND
from packet.test_copy import CASES as COPY
from packet.test_defrag import CASES as DEFRAG
from packet.test_pullup import CASES as PULLUP
from packet.test_segmentation import CASES as SEGMENTATION
from packet.test_trim import CASES as TRIM
from packet.verb_cases import ONE_BYTE_LAYOUTS, VerbCase, build_chains, check_result, expected_error

CASES = {f"{case.name} {n}": case for n, case in enumerate([*COPY, *PULLUP, *APPEND, *DEFRAG, *SEGMENTATION, *TRIM])}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_after_random_refusals_the_verb_works_and_the_bytes_are_right(
    make: Callable[..., Pool], case: VerbCase
) -> None:
    faults = FaultInjector(make(debug=True))
    pool = faults.pool
    for seed, (layout, size) in enumerate(ONE_BYTE_LAYOUTS):
        chains = build_chains(layout, pool, size)
        m = chains[0]
        if not expected_error(case, layout.removesuffix(SUFFIX), m):
            header, before = header_state(m), snapshot(pool, *chains)

            def unchanged(chains: list = chains, before: object = before) -> None:  # type: ignore[type-arg]
                assert snapshot(pool, *chains) == before

            try:
                result = retry_until_granted(faults, seed, lambda m=m: case.call(m, {}), unchanged)
            except (Inval, ReadOnly):
                assert case.needs_contiguous
                assert layout.removesuffix(SUFFIX) in UNMAPPED
                unchanged()
            else:
                check_result(case, chains, size, header, result)
        pool.free_bulk(chains)
        assert (pool.out, pool.tags.count, pool.snd_tags.count) == (0, 0, 0)


#: Cases that make hundreds of requests, or thousands.
MANY_REQUESTS = ("fragment -1", "fragment -2", "fragment 7", "segment 1", "segment 7")
FEW_REQUESTS = [case for case in CASES.values() if case.may_wait and case.name not in MANY_REQUESTS]


@pytest.mark.parametrize("case", FEW_REQUESTS, ids=lambda case: case.name)
def test_in_a_pool_with_a_budget_failing_at_the_kth_request_changes_nothing(
    make: Callable[..., Pool], case: VerbCase
) -> None:
    fail_on_all_layouts(FaultInjector(make(memory="4M", debug=True)), case)
