"""The `#:` comments of fields, for `help`.

`help(cls)` shows a text beside each slot if `__slots__` is a dictionary of texts. The texts are read from the source
when somebody asks for one, so that importing costs nothing. For compiled classes `setup.py` does the same once.
"""

from __future__ import annotations

from typing import TypeVar

_Class = TypeVar("_Class", bound=type)


class FieldDocs(dict[str, str]):
    """The slots of a class, each with the comment before it in the source; "" where there is none."""

    def __init__(self, cls: type) -> None:
        super().__init__(dict.fromkeys(cls.__slots__, ""))  # type: ignore[attr-defined]
        self._class = cls

    def __getitem__(self, name: str) -> str:
        import sys

        path = sys.modules[self._class.__module__].__file__ or ""
        return super().__getitem__(name) or comments(path, self._class.__name__).get(name, "")


def documented(cls: _Class) -> _Class:
    """A decorator of a class with slots: `help` shows the comments of its fields."""
    cls.__slots__ = FieldDocs(cls)  # type: ignore[attr-defined]
    return cls


def comments(path: str, name: str) -> dict[str, str]:
    """The `#:` comments of the fields of a class in a module at a path, by field; empty if there is no source."""
    import re
    from pathlib import Path

    source = Path(path).with_name(Path(path).name.partition(".")[0] + ".py")
    text = source.read_text("utf-8") if source.exists() else ""
    body = re.search(rf"^class {name}\b.*\n((?:[ #].*\n|\n)*)", text, re.MULTILINE)
    found = re.findall(r"((?:^ +#: ?.*\n)+) +(?:self\.)?(\w+)(?::| =)", body[1] if body else "", re.MULTILINE)
    return {field: " ".join(line.strip(" #:") for line in lines.splitlines()) for lines, field in found[::-1]}
