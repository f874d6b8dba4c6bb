"""A sample of hostile cases, always the same: `make hostile` runs more, with a new seed each time."""

from collections import Counter
from itertools import islice

import pytest

import mbuf
from hostile.arguments import missing_arguments
from hostile.drive import chunks, run_all
from hostile.members import IMMUTABLE, members, roles
from hostile.net import net_cases
from hostile.run import Case, hooks, table
from hostile.sizes import CHUNKS, NET_CASES, SEED
from mbuf import __all__ as public


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n", range(CHUNKS))
def test_user_code_in_the_middle_of_a_method_damages_nothing(n: int) -> None:
    summary = run_all(next(islice(chunks(SEED), n, None)))
    assert not summary.failures, "\n".join(map(str, summary.failures[:20]))
    assert summary.reached > 200


@pytest.mark.timeout(600)
def test_user_code_in_the_middle_of_a_call_of_net_damages_nothing() -> None:
    summary = run_all([Case(*case) for case in islice(net_cases(SEED), NET_CASES)])
    assert not summary.failures, "\n".join(map(str, summary.failures[:20]))
    assert summary.reached > NET_CASES // 2


def test_every_method_has_arguments() -> None:
    assert not missing_arguments(members())


def test_every_public_class_is_tested() -> None:
    classes = {name for name in public if isinstance(getattr(mbuf, name), type)}
    errors = {name for name in classes if issubclass(getattr(mbuf, name), Exception | Warning)}
    assert classes - errors - IMMUTABLE <= {cls.__name__ for cls in roles().values()}


def test_every_method_has_hooks_of_each_kind() -> None:
    kinds = Counter(hook.split(":")[0].split(".")[0].rstrip("012345678") for mine in hooks().values() for hook in mine)
    assert {"arg", "m", "n", "probe", "gc", "logger", "shortage", "lowmem"} <= set(kinds)
    assert len(table()) > 300
