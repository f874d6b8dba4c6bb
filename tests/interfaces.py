"""A network interface for tests."""

from typing import Any

from mbuf import Interface, SndTag
from mbuf.packet.sndtag import SndTags


class SndTagInterface(Interface):
    """An interface that gives send tags of type 0."""

    def snd_tag_alloc(self, tags: SndTags, params: Any) -> SndTag:
        return SndTag(tags, self, 0)
