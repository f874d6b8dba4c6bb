"""The network interfaces of a trace's machine, of which two have send tags."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mbuf.packet.sndtag import Interface, SndTag, SndTags


class DriverError(Exception):
    """A driver refuses a send tag with an error number of the kernel."""

    def __init__(self, errno: int) -> None:
        super().__init__(f"errno {errno}")
        self.errno = errno


class SndTagRequest(NamedTuple):
    """Parameters of `snd_tag_alloc`: the type, and the error number to fail with unless it is 0."""

    type: int
    fail: int


class NumberedTag(SndTag):
    """A send tag with its number in the trace."""

    number: int


class NumberedInterface(Interface):
    """An interface with a number in the trace, without send tags."""

    def __init__(self, number: int) -> None:
        super().__init__(f"if{number}")
        self.number = number


class TraceInterface(NumberedInterface):
    """An interface with send tags, which calls `freed` for each one that is freed."""

    def __init__(self, number: int, count: Callable[[], int], freed: Callable[[int, int], None]) -> None:
        super().__init__(number)
        self._count = count
        self._freed = freed

    def snd_tag_alloc(self, tags: SndTags, request: SndTagRequest) -> SndTag:
        if request.fail:
            raise DriverError(request.fail)
        tag = NumberedTag(tags, self, request.type)
        tag.number = self._count()
        return tag

    def snd_tag_free(self, tag: Any) -> None:
        self._freed(self.number, tag.number)
