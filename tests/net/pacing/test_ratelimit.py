"""Send tags that limit a rate, and how they are asked for."""

from typing import Any

import pytest

from mbuf import Inval
from mbuf.net.pacing.ratelimit import RateLimit, RateState, RateTag, Unlimited
from mbuf.packet.sndtag import Interface, SndTags

BAD: tuple[Any, ...] = (0, -1, (1 << 64) - 1, 1 << 64, 1.5, "1000", None, True)


@pytest.mark.parametrize("rate", BAD)
def test_a_rate_is_a_number_of_bytes_a_second(rate: Any) -> None:
    with pytest.raises(Inval, match="bytes a second"):
        RateLimit(rate)
    tags = SndTags()
    tag = RateTag(tags, Interface("em0"), RateLimit(1000), 8, 0)
    with pytest.raises(Inval, match="bytes a second"):
        tag.modify(rate)
    assert tag.max_rate == 1000
    tag.rele()
    assert tags.count == 0


@pytest.mark.parametrize("burst", [-1, 1.5, "1000", True, 1 << 64])
def test_a_burst_is_a_number_of_bytes(burst: Any) -> None:
    with pytest.raises(Inval, match="burst"):
        RateLimit(1000, burst)


@pytest.mark.parametrize("rate", [1, (1 << 64) - 2])
def test_a_tag_tells_its_rate_and_what_waits(rate: int) -> None:
    tag = RateTag(SndTags(), Interface("em0"), RateLimit(rate), 8, 0)
    assert tag.query() == RateState(rate, 0, 0, 0)
    assert repr(tag) == f"<send tag of {rate} bytes/s of <interface 'em0' refs=1> refs=1>"
    tag.rele()


def test_what_is_asked_for_can_be_compared() -> None:
    assert RateLimit(5) == RateLimit(5, None) != RateLimit(5, 0)
    assert Unlimited() == Unlimited()
