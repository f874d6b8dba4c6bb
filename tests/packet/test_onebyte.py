"""Verbs on chains of one byte an mbuf, where one request of three for memory is refused."""

from collections.abc import Callable

import pytest

from mbuf import Inval, Pool, ReadOnly
from packet.conftest import UNMAPPED
from packet.failing import Scarce, failing_at_random, stubborn
from packet.onebyte import BYTES
from packet.picture import header, picture
from packet.rows import BY_BYTES, Row, agree, built, refusal
from packet.test_append import ROWS as GROWTH
from packet.test_copy import ROWS as COPY
from packet.test_defrag import ROWS as LAYOUT
from packet.test_pullup import ROWS as GATHER
from packet.test_segmentation import ROWS as PARTS
from packet.test_trim import ROWS as SHAPE

ROWS = {f"{row.name} {n}": row for n, row in enumerate([*COPY, *GATHER, *GROWTH, *LAYOUT, *PARTS, *SHAPE])}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_refused_at_random_the_bytes_are_right_in_the_end(make: Callable[..., Pool], row: Row) -> None:
    scarce = Scarce(make(debug=True))
    for seed, (way, size) in enumerate(BY_BYTES):
        chains = built(way, scarce.pool, size)
        m = chains[0]
        if not refusal(row, way.removesuffix(BYTES), m):
            before, whole = header(m), picture(scarce.pool, *chains)

            def unchanged(chains: list = chains, whole: object = whole) -> None:  # type: ignore[type-arg]
                with failing_at_random(scarce, 0, 10**9):
                    pass
                assert picture(scarce.pool, *chains) == whole

            try:
                with failing_at_random(scarce, seed):
                    result = stubborn(lambda m=m: row.call(m, {}), unchanged)
            except (Inval, ReadOnly):
                assert row.rowed
                assert way.removesuffix(BYTES) in UNMAPPED
                unchanged()
            else:
                agree(row, chains, size, before, result)
        scarce.pool.free_bulk(chains)
        assert (scarce.pool.out, scarce.pool.tags.count, scarce.pool.snd_tags.count) == (0, 0, 0)
