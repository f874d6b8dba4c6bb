"""The network interfaces of a trace's machine, and the send tags that two of them have."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mbuf.packet.sndtag import Interface, SndTag, SndTags


class DriverError(Exception):
    """A driver refuses a send tag, for a reason that is the kernel's number."""

    def __init__(self, errno: int) -> None:
        super().__init__(f"errno {errno}")
        self.errno = errno


class Wish(NamedTuple):
    """What a driver is asked for: a send tag of a type, or to refuse it with a number that isn't 0."""

    type: int
    fail: int


class Named(SndTag):
    """A send tag with its number in the trace."""

    number: int


class Plain(Interface):
    """An interface without send tags, known by its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"if{number}")
        self.number = number


class Card(Plain):
    """An interface with send tags, which tells `freed` of each that goes."""

    def __init__(self, number: int, count: Callable[[], int], freed: Callable[[int, int], None]) -> None:
        super().__init__(number)
        self._count = count
        self._freed = freed

    def snd_tag_alloc(self, tags: SndTags, wish: Wish) -> SndTag:
        if wish.fail:
            raise DriverError(wish.fail)
        tag = Named(tags, self, wish.type)
        tag.number = self._count()
        return tag

    def snd_tag_free(self, tag: Any) -> None:
        self._freed(self.number, tag.number)
