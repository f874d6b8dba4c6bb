"""Send tags: what an interface has set up for the packets of one sender.

Tags and the references to them are counted by hand, as in the kernel. Knows neither mbufs nor pools.
"""

from __future__ import annotations

from typing import Any

from mbuf.const import IF_SND_TAG_TYPE_MAX
from mbuf.errors import Freed, Inval, NotSupported
from mbuf.vm.ints import clip
from mbuf.vm.unraisable import report, run


class Interface:
    """What an interface of one's own may begin with: a name, and who holds it.

    Anything may be an interface; one that has `ref` and `rele` is told by send tags that they hold it. To
    have send tags, it needs `snd_tag_alloc(tags, params)`, which returns a new `SndTag`, made with `tags`,
    or raises; and, if a tag that ends leaves it something to do, `snd_tag_free(tag)`.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        #: References held by others.
        self.refs = 0

    def ref(self) -> None:
        """Hold it. See if_ref."""
        self.refs += 1

    def rele(self) -> None:
        """Hold it no more. See if_rele."""
        if self.refs <= 0:
            raise Inval(f"interface {self.name!r}: nobody holds it")
        self.refs -= 1

    def __repr__(self) -> str:
        return f"<interface {self.name!r} refs={self.refs}>"


class SndTags:
    """The send tags of a pool."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        #: Those alive. (A sysctl may set it to 0, and it goes below that then, as in the kernel.)
        self.count = 0

    def alloc(self, ifp: Any, params: Any = None) -> SndTag:
        """A send tag, with one reference, which is the caller's. See m_snd_tag_alloc.

        Raises `NotSupported` where the interface has none to give, and whatever its driver raises.
        """
        ask = getattr(ifp, "snd_tag_alloc", None)
        if ask is None:
            raise NotSupported(f"{ifp!r} has no send tags: it would need a method snd_tag_alloc(tags, params)")
        tag = ask(self, params)
        if not isinstance(tag, SndTag):
            raise TypeError(f"snd_tag_alloc of {ifp!r} returned {tag!r}, which is no SndTag")
        return tag


class SndTag:
    """What an interface has set up for a sender; a driver's own kind of it may be a subclass.

    A driver makes one, with one reference. Whoever keeps it holds a reference: `ref` takes one more, `rele`
    lets one go, the last of them ends the tag. A tag that is merely dropped doesn't end: references are
    counted by hand, and the interface is held until the last is let go.
    """

    __slots__ = ("_refs", "_tags", "ifp", "type")

    def __init__(self, tags: SndTags, ifp: Any, type: int) -> None:
        """See m_snd_tag_init."""
        if self.refs:
            raise TypeError("a send tag is made once: make another one")
        if not 0 <= clip(type) < IF_SND_TAG_TYPE_MAX:
            raise Inval(f"type {type}: give IF_SND_TAG_TYPE_RATE_LIMIT or another of those")
        #: The interface, which it holds, and what it is asked for: IF_SND_TAG_TYPE_...
        self.ifp = ifp
        self.type = type
        self._tell("ref")
        self._refs = 1
        self._tags = tags
        tags.count += 1

    @property
    def refs(self) -> int:
        """References to it; 0 when it has ended."""
        return getattr(self, "_refs", 0)

    def ref(self) -> SndTag:
        """Take one more reference; returns the tag. See m_snd_tag_ref."""
        if self.refs <= 0:
            raise self._ended()
        self._refs += 1
        return self

    def rele(self) -> None:
        """Let one reference go; the last ends the tag. See m_snd_tag_rele."""
        if not hasattr(self, "_refs"):
            raise self._ended()
        # No call in between: two threads must not both find theirs the last.
        if self._refs <= 0:
            raise self._ended()
        self._refs -= 1
        if not self._refs:
            self._destroy()

    def _destroy(self) -> None:
        """See m_snd_tag_destroy. What the interface raises goes to `sys.unraisablehook`."""
        try:
            try:
                run(self._tell, "snd_tag_free", self)
            finally:
                run(self._tell, "rele")
        except MemoryError as error:  # even to call them takes some
            report(error, self)
        finally:
            self._tags.count -= 1

    def _tell(self, verb: str, *args: object) -> None:
        """Call that method of the interface, if it has it."""
        fn = getattr(self.ifp, verb, None)
        if fn is not None:
            fn(*args)

    def __reduce__(self) -> Any:
        raise TypeError("a send tag can't be pickled or copied: its references are counted; use ref()")

    def __repr__(self) -> str:
        return f"<send tag type={self.type} of {self.ifp!r} refs={self._refs}>"

    def _ended(self) -> Freed:
        return Freed("the last reference to the send tag was let go: keep no name for it after that")
