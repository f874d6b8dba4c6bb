"""Send tags that limit a rate: how they are asked for, and what there is for the packets of each.

Sends nothing, and sees no socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mbuf.const import IF_SND_TAG_TYPE_RATE_LIMIT
from mbuf.errors import Inval
from mbuf.net.pacing.tokenbucket import TokenBucket
from mbuf.net.pacing.txqueue import TxQueue
from mbuf.packet.sndtag import SndTag, SndTags

#: Bytes a second: for Linux, all 64 bits set mean that there is no limit.
_MOST = (1 << 64) - 2


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Asks for a tag whose packets go at `max_rate` bytes a second, and no faster. See if_snd_tag_alloc_rate_limit.

    After a rest, or when the sender was late, `burst` bytes may go at once; without it, what goes in 10 ms.
    """

    max_rate: int
    burst: int | None = None

    def __post_init__(self) -> None:
        if not _whole(self.max_rate, 1, _MOST):
            raise Inval(f"max_rate {self.max_rate!r}: give bytes a second, 1 to 2**64 - 2; for no limit, Unlimited()")
        if self.burst is not None and not _whole(self.burst, 0, _MOST):
            raise Inval(f"burst {self.burst!r}: give bytes, 0 to 2**64 - 2, or None for what goes in 10 ms")


@dataclass(frozen=True, slots=True)
class Unlimited:
    """Asks for a tag whose packets go as soon as they can. See if_snd_tag_alloc_rate_limit."""


@dataclass(frozen=True, slots=True)
class RateState:
    """What a tag's interface knows of it. See if_snd_tag_rate_limit_params."""

    #: Bytes a second.
    max_rate: int
    #: Packets that wait.
    queue_level: int
    #: Packets that went, and their bytes.
    sent: int
    bytes: int


class RateTag(SndTag):
    """The send tag that a `RateLimit` asks for; its packets have a line of their own.

    Get one with `pool.snd_tag_alloc(paced, RateLimit(...))`; let go of it with `rele`.
    """

    __slots__ = ("line",)

    def __init__(self, tags: SndTags, ifp: Any, limit: RateLimit, maxlen: int, now: int) -> None:
        self.line = TxQueue(maxlen, TokenBucket(limit.max_rate, limit.burst, now))
        super().__init__(tags, ifp, IF_SND_TAG_TYPE_RATE_LIMIT)

    @property
    def max_rate(self) -> int:
        """Bytes a second."""
        return self.tokens.rate

    @property
    def tokens(self) -> TokenBucket:
        """What its packets need."""
        assert self.line.bucket is not None
        return self.line.bucket

    def modify(self, max_rate: int) -> None:
        """Go at so many bytes a second from now on, the packets that wait too. See if_snd_tag_modify.

        Raises `Inval` if that is no rate, and `Freed` if the tag has ended.
        """
        limit = RateLimit(max_rate)
        if self.refs <= 0:
            raise self._ended()
        self.ifp.snd_tag_modify(self, limit)

    def query(self) -> RateState:
        """How it is doing. See if_snd_tag_query."""
        line = self.line
        return RateState(self.max_rate, len(line.queue), line.sent, line.bytes)

    def __repr__(self) -> str:
        return f"<send tag of {self.max_rate} bytes/s of {self.ifp!r} refs={self.refs}>"


def _whole(number: object, least: int, most: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and least <= number <= most
