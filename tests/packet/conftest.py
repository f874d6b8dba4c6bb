"""Fixtures for tests of mbufs."""

from collections.abc import Callable, Iterator

import pytest

from mbuf import Mbuf, Pool
from packet.layouts import LAYOUTS


@pytest.fixture(params=LAYOUTS)
def build(request: pytest.FixtureRequest, pool: Pool) -> Iterator[Callable[[bytes], Mbuf]]:
    """Builds a chain with the given bytes, in every layout; all mbufs are freed at the end."""
    made: list[Mbuf] = []

    def build(data: bytes) -> Mbuf:
        chains = LAYOUTS[request.param](pool, data)
        made.extend(chains)
        return chains[0]

    yield build
    for m in made:
        if "freed" not in repr(m):
            m.freem()
