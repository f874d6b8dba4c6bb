"""A warning names the line of the program that called the package, however many of its functions are between."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import Pool, Vm, tunables


def leave(pool: Pool) -> None:
    with pool:
        held.append(pool.getcl())


held: list[Any] = []


@pytest.mark.parametrize(
    "act",
    [
        lambda pool: (held.append(pool.getcl()), pool.close()),
        leave,
        lambda pool: Pool(Vm(1 << 24), {"kern.ipc.nmbclusters": 1 << 40}, worker=False),
        lambda pool: tunables.from_environ({"MBUF_NMBCLUSTERS": "12x"}),
        lambda pool: pool.getcl() and None,
    ],
    ids=["close", "with", "Pool", "tunables", "dropped"],
)
def test_a_warning_names_this_file(act: Callable[[Pool], object]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act(Pool(Vm(1 << 24), worker=False, debug=True))
    held.clear()
    assert [warning.filename for warning in caught] == [__file__]
