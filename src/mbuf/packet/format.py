"""Formats of `struct`, parsed once.

A program mostly uses a few formats, and each is the same string object every time: it is found by its address. An
equal string that is another object is found by its text. Never sees an mbuf.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

#: Formats that are remembered by text, and by address: a power of two.
_MOST, _PLACES = 256, 64


@cython.cclass
class Format:
    """How many bytes a format has, and what takes the values out of them."""

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
    """The formats in use: up to 256 by text, and the last one of each of 64 places by address."""

    __slots__ = ("_known", "_recent")

    def __init__(self) -> None:
        self._known: dict[str, Format] = {}
        self._recent: list[Any] = [None] * _PLACES

    def find(self, text: Any) -> Format:
        """The `Format` of a text; raises what `Struct` does."""
        if type(text) is not str:
            return Format(text)
        found = self._known.get(text)
        if found is None:
            found = Format(text)
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[text] = found
        found.text = text
        self._recent[place_of(text)] = found
        return found

    def last_at(self, place: int) -> Format | None:
        """The format that was asked for last of those with that place."""
        format: Format | None = self._recent[place]
        return format


FORMATS = Formats()


if not cython.compiled:

    def place_of(text: object) -> int:
        """Where a text is looked for: by its address."""
        return (id(text) >> 4) & (_PLACES - 1)

    def format_of(text: Any) -> Format:
        """The `Format` of a text. See `struct` for what it may say."""
        found = FORMATS.last_at(place_of(text))
        return found if found is not None and found.text is text else FORMATS.find(text)
