"""Hostile cases, the same at each run: `make hostile` plays others, and more."""

from collections import Counter
from itertools import islice

import pytest

import mbuf
from hostile.drive import chunks, play
from hostile.recipes import lacking
from hostile.run import hooks, table
from hostile.sizes import CHUNKS, SEED
from hostile.surface import CONSTANT, members, roles
from mbuf import __all__ as public


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n", range(CHUNKS))
def test_user_code_in_the_middle_of_a_method_finds_and_leaves_all_whole(n: int) -> None:
    tally = play(next(islice(chunks(SEED), n, None)))
    assert not tally.failures, "\n".join(map(str, tally.failures[:20]))
    assert tally.reached > 200


def test_every_method_has_arguments() -> None:
    assert not lacking(members())


def test_every_public_class_is_attacked() -> None:
    classes = {name for name in public if isinstance(getattr(mbuf, name), type)}
    errors = {name for name in classes if issubclass(getattr(mbuf, name), Exception | Warning)}
    assert classes - errors - CONSTANT <= {cls.__name__ for cls in roles().values()}


def test_every_method_has_hooks_of_each_kind() -> None:
    kinds = Counter(hook.split(":")[0].split(".")[0].rstrip("012345678") for mine in hooks().values() for hook in mine)
    assert {"arg", "m", "n", "probe", "gc", "logger", "shortage", "lowmem"} <= set(kinds)
    assert len(table()) > 300
