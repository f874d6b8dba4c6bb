"""A cache of parsed `struct` formats.

A program mostly uses few formats, and each of them is the same string object every time, so it is found by its
address. An equal string that is another object is found by its text.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

#: Formats that are cached by text, and slots of the cache by address, a power of two.
_MAX, _SLOTS = 256, 64


@cython.cclass
class Format:
    """A parsed format: its size in bytes, and its `unpack` function."""

    __slots__ = ("size", "text", "unpack")
    size: int
    text: Any
    unpack: Callable[[bytes], tuple[Any, ...]]

    def __init__(self, text: Any) -> None:
        parsed = Struct(text)
        self.text = text
        self.size = parsed.size
        self.unpack = parsed.unpack


@cython.cclass
class Formats:
    """The cache: up to 256 formats by text, and the last one used of each of 64 slots by address."""

    __slots__ = ("_known", "_recent")

    def __init__(self) -> None:
        self._known: dict[str, Format] = {}
        self._recent: list[Any] = [None] * _SLOTS

    def find(self, text: Any) -> Format:
        """Return the `Format` of a text; raises what `Struct` raises."""
        if type(text) is not str:
            return Format(text)
        found = self._known.get(text)
        if found is None:
            found = Format(text)
            if len(self._known) >= _MAX:
                self._known.clear()
            self._known[text] = found
        found.text = text
        self._recent[slot_of(text)] = found
        return found


FORMATS = Formats()


if not cython.compiled:

    def slot_of(text: object) -> int:
        """Return the slot of a text, by its address."""
        return (id(text) >> 4) & (_SLOTS - 1)

    def format_of(text: Any) -> Format:
        """Return the `Format` of a text, in the syntax of `struct`."""
        found: Any = FORMATS._recent[slot_of(text)]
        return found if found is not None and found.text is text else FORMATS.find(text)
