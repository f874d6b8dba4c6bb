"""Send tags that limit a rate: the parameters for `snd_tag_alloc`, and the tag. Sockets aren't known here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mbuf.const import IF_SND_TAG_TYPE_RATE_LIMIT
from mbuf.errors import Inval
from mbuf.fielddocs import documented
from mbuf.net.pacing.tokenbucket import TokenBucket
from mbuf.net.pacing.txqueue import TxQueue
from mbuf.packet.sndtag import SndTag, SndTags

#: The most bytes per second or bytes of burst. In Linux, 2**64 - 1 bytes per second mean that there is no limit.
_MAX_RATE = (1 << 64) - 2


@documented
@dataclass(frozen=True, slots=True)
class RateLimit:
    """Parameters for a tag that limits its packets to a rate. See if_snd_tag_alloc_rate_limit.

    Raises `Inval` unless `max_rate` is an int from 1 to 2**64 - 2, and `burst` is one from 0 to 2**64 - 2, or None.
    """

    #: Bytes per second, of the packets as they are pushed; headers that the kernel adds don't count.
    max_rate: int
    #: Bytes that may be sent at once after a pause, or if the sender was late; None for the bytes of 10 ms.
    burst: int | None = None

    def __post_init__(self) -> None:
        if not _is_int(self.max_rate, 1, _MAX_RATE):
            raise Inval(
                f"max_rate {self.max_rate!r}: give bytes per second, 1 to 2**64 - 2, or use Unlimited() for no limit"
            )
        if self.burst is not None and not _is_int(self.burst, 0, _MAX_RATE):
            raise Inval(f"burst {self.burst!r}: give bytes, 0 to 2**64 - 2, or None for the bytes of 10 ms")


@dataclass(frozen=True, slots=True)
class Unlimited:
    """Parameters for a tag without a limit. See if_snd_tag_alloc_rate_limit."""


@documented
@dataclass(frozen=True, slots=True)
class RateState:
    """The state of a tag, from `tag.query()`. See if_snd_tag_rate_limit_params."""

    #: Bytes per second.
    max_rate: int
    #: The number of packets that wait to be sent.
    queue_level: int
    #: The number of packets sent.
    sent: int
    #: Bytes of those packets.
    bytes: int


class RateTag(SndTag):
    """A send tag that limits the rate of its packets, which wait in a transmit queue of their own.

    Get one with `pool.snd_tag_alloc(paced, RateLimit(...))`; release it with `rele`. Each stamped packet has a
    reference to it. The rate may be changed while packets wait.
    """

    __slots__ = ("txqueue",)

    def __init__(self, tags: SndTags, ifp: Any, limit: RateLimit, maxlen: int, now: int) -> None:
        #: The packets that wait, and the token bucket.
        self.txqueue = TxQueue(maxlen, TokenBucket(limit.max_rate, limit.burst, now))
        super().__init__(tags, ifp, IF_SND_TAG_TYPE_RATE_LIMIT)

    @property
    def max_rate(self) -> int:
        """Bytes per second."""
        return self.bucket.rate

    @property
    def bucket(self) -> TokenBucket:
        """The token bucket of the packets."""
        assert self.txqueue.bucket is not None
        return self.txqueue.bucket

    def modify(self, max_rate: int) -> None:
        """Change the rate to `max_rate` bytes per second, also for packets that wait. See if_snd_tag_modify.

        Raises `Inval` if that isn't a rate, and `Freed` if the tag has ended.
        """
        limit = RateLimit(max_rate)
        if self.refs <= 0:
            raise self._ended()
        self.ifp.snd_tag_modify(self, limit)

    def query(self) -> RateState:
        """Return the rate, and the counters. See if_snd_tag_query."""
        txqueue = self.txqueue
        return RateState(self.max_rate, len(txqueue.packets), txqueue.sent, txqueue.bytes)

    def __repr__(self) -> str:
        return f"<send tag of {self.max_rate} bytes/s of {self.ifp!r} refs={self.refs}>"


def _is_int(number: object, low: int, high: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and low <= number <= high
