"""The plugin for pytest: the fixture `mbuf_pool`, a pool to which a test must give back every mbuf.

pytest imports this module at the start of every run if mbuf is installed. So it is beside the package: it imports that
only when a test uses the fixture.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mbuf import Pool

_PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "mbuf_pool(...): the arguments of the Pool that the fixture mbuf_pool makes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Remember whether the test passed: of one that fails, the traceback still refers to its mbufs."""
    item.stash[_PASSED] = False
    yield
    item.stash[_PASSED] = True


@pytest.fixture
def mbuf_pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """A Pool; a test that passes and leaves mbufs out of it is an error, which says where they were allocated.

    It is Pool("16M", debug=True, worker=False). The marker `mbuf_pool` gives other arguments of Pool, to a test or
    to a module: @pytest.mark.mbuf_pool("1M", limits={"clust": 4}). It is closed at the end.
    """
    from mbuf import Pool
    from mbuf.testing import leaks

    marker = request.node.get_closest_marker("mbuf_pool")
    arguments, named = (marker.args, marker.kwargs) if marker is not None else ((), {})
    if not arguments and not {"memory", "vm"} & named.keys():
        arguments = ("16M",)
    pool = Pool(*arguments, **{"debug": True, "worker": False, **named})
    yield pool
    found = leaks(pool) if request.node.stash.get(_PASSED, False) else ""
    with warnings.catch_warnings():
        # `close` warns of what is out: either `found` says it, or the test has failed anyway.
        warnings.simplefilter("ignore", ResourceWarning)
        pool.close()
    if found:
        pytest.fail(found, pytrace=False)
