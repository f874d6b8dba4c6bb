"""Send tags: the state of an interface for the packets of one sender, such as a rate limit.

References to a tag are counted by calls of `ref` and `rele`, as in the kernel.
"""

from __future__ import annotations

from typing import Any

from mbuf.const import IF_SND_TAG_TYPE_MAX
from mbuf.errors import Freed, Inval, NotSupported
from mbuf.vm.ints import integer
from mbuf.vm.unraisable import report, run


class Interface:
    """A base class for interfaces, with a name and a count of references.

    Any object may be an interface. If it has `ref` and `rele`, a send tag calls them when it begins and ends to use the
    interface. For send tags it needs a method `snd_tag_alloc(tags, params)`, which returns a new `SndTag`, made with
    `tags`, or raises an exception. Its method `snd_tag_free(tag)`, if any, is called when a tag ends.
    """

    def __init__(self, name: str = "") -> None:
        #: The name, as in messages.
        self.name = name
        #: References to this interface.
        self.refs = 0

    def ref(self) -> None:
        """Take a reference. See if_ref."""
        self.refs += 1

    def rele(self) -> None:
        """Release a reference. Raises `Inval` if there is none. See if_rele."""
        if self.refs <= 0:
            raise Inval(f"interface {self.name!r}: there are no references to release")
        self.refs -= 1

    def __repr__(self) -> str:
        return f"<interface {self.name!r} refs={self.refs}>"


class SndTags:
    """The send tags of a pool: counts them. See m_snd_tag_alloc."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        #: The number of send tags. A sysctl may set it to 0; then it may become negative, as in the kernel.
        self.count = 0

    def alloc(self, ifp: Any, params: Any = None) -> SndTag:
        """Return a send tag of interface `ifp`, with one reference, which belongs to the caller. See m_snd_tag_alloc.

        `params` is passed to the driver. Raises `NotSupported` if the interface has no send tags, and what its
        `snd_tag_alloc` raises.
        """
        ask = getattr(ifp, "snd_tag_alloc", None)
        if ask is None:
            raise NotSupported(f"{ifp!r} has no send tags: give it a method snd_tag_alloc(tags, params)")
        tag = ask(self, params)
        if not isinstance(tag, SndTag):
            raise TypeError(f"snd_tag_alloc of {ifp!r} returned {tag!r}, which isn't a SndTag")
        return tag


class SndTag:
    """The state of an interface for one sender. A driver may subclass it. See struct m_snd_tag in mbuf(9).

    `SndTag(tags, ifp, type)` has one reference, which belongs to the caller. `ref` takes one more, `rele` releases one;
    the last release ends the tag, and its reference to the interface. Dropping the object doesn't release anything.
    """

    __slots__ = ("_refs", "_tags", "ifp", "type")

    def __init__(self, tags: SndTags, ifp: Any, type: int) -> None:
        """Take a reference to the interface, and count the tag in `tags`. See m_snd_tag_init."""
        if self.refs:
            raise TypeError("a send tag can't be initialized again: make another one")
        if not 0 <= integer(type, "type") < IF_SND_TAG_TYPE_MAX:
            raise Inval(f"type {type}: give an IF_SND_TAG_TYPE_ constant, 0 to {IF_SND_TAG_TYPE_MAX - 1}")
        #: The interface.
        self.ifp = ifp
        #: The type of the tag: IF_SND_TAG_TYPE_...
        self.type = type
        self._call("ref")
        self._refs = 1
        self._tags = tags
        tags.count += 1

    @property
    def refs(self) -> int:
        """The number of references; 0 if the tag has ended."""
        return getattr(self, "_refs", 0)

    def ref(self) -> SndTag:
        """Take one more reference, and return the tag. Raises `Freed` if it has ended. See m_snd_tag_ref."""
        if self.refs <= 0:
            raise self._ended()
        self._refs += 1
        return self

    def rele(self) -> None:
        """Release one reference; the last one ends the tag. Raises `Freed` if it has ended. See m_snd_tag_rele."""
        if not hasattr(self, "_refs"):
            raise self._ended()
        # There is no call between here and the test below, so only one thread releases the last reference.
        if self._refs <= 0:
            raise self._ended()
        self._refs -= 1
        if not self._refs:
            self._destroy()

    def _destroy(self) -> None:
        """End the tag. Exceptions of the interface go to `sys.unraisablehook`. See m_snd_tag_destroy."""
        try:
            try:
                run(self._call, "snd_tag_free", self)
            finally:
                run(self._call, "rele")
        except MemoryError as error:  # the calls themselves may need memory
            report(error, self)
        finally:
            self._tags.count -= 1

    def _call(self, verb: str, *args: object) -> None:
        """Call a method of the interface, if it has it."""
        fn = getattr(self.ifp, verb, None)
        if fn is not None:
            fn(*args)

    def __reduce__(self) -> Any:
        raise TypeError("a send tag can't be pickled or copied: its references are counted; use ref()")

    def __repr__(self) -> str:
        return f"<send tag type={self.type} of {self.ifp!r} refs={self._refs}>"

    def _ended(self) -> Freed:
        """Return the error for a tag that has ended."""
        return Freed("the last reference to the send tag was released: don't use it after that")
