"""Caches alone; test_zone.py tests how zones use them."""

from typing import Any

import pytest

from mbuf.uma.bucket import Bucket
from mbuf.uma.cache import Cache


def test_a_new_cache_has_nothing_to_count() -> None:
    made = Cache(Bucket(0))
    assert (made.allocs, made.frees) == (0, 0)


@pytest.mark.parametrize("none", [None, 0, []])
def test_a_cache_begins_with_a_bucket(none: Any) -> None:
    with pytest.raises(TypeError):
        Cache(none)
