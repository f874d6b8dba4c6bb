"""Send tags that limit a rate, and their parameters."""

from typing import Any

import pytest

from mbuf import Inval
from mbuf.net.pacing.ratelimit import RateLimit, RateState, RateTag, Unlimited
from mbuf.packet.sndtag import Interface, SndTags

BAD: tuple[Any, ...] = (0, -1, (1 << 64) - 1, 1 << 64, 1.5, "1000", None, True)


@pytest.mark.parametrize("rate", BAD)
def test_a_rate_must_be_a_positive_int(rate: Any) -> None:
    with pytest.raises(Inval, match="bytes per second"):
        RateLimit(rate)
    tags = SndTags()
    tag = RateTag(tags, Interface("em0"), RateLimit(1000), 8, 0)
    with pytest.raises(Inval, match="bytes per second"):
        tag.modify(rate)
    assert tag.max_rate == 1000
    tag.rele()
    assert tags.count == 0


@pytest.mark.parametrize("burst", [-1, 1.5, "1000", True, 1 << 64])
def test_a_burst_must_be_an_int(burst: Any) -> None:
    with pytest.raises(Inval, match="burst"):
        RateLimit(1000, burst)


@pytest.mark.parametrize("rate", [1, (1 << 64) - 2])
def test_query_returns_the_rate_and_counters(rate: int) -> None:
    tag = RateTag(SndTags(), Interface("em0"), RateLimit(rate), 8, 0)
    assert tag.query() == RateState(rate, 0, 0, 0)
    assert repr(tag) == f"<send tag of {rate} bytes/s of <interface 'em0' refs=1> refs=1>"
    tag.rele()


def test_parameters_are_equal_by_value() -> None:
    assert RateLimit(5) == RateLimit(5, None) != RateLimit(5, 0)
    assert Unlimited() == Unlimited()
