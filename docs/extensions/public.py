"""What is public: the objects that the reference pages list, the members of each class, and the comments of fields.

Read from uncompiled classes, and from the `.pxd` beside each module: it says which attributes and methods of a
compiled class Python code can see. The pages and the test of the pages both use it, so that they agree.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ForwardRef, NamedTuple

from mbuf.fielddocs import comments

DOCS = Path(__file__).parents[1]
PAGES = DOCS / "reference"

#: Special methods that a class's users rely on; the others are what every class has.
PROTOCOLS = (
    *("__len__", "__bool__", "__bytes__", "__iter__", "__contains__", "__getitem__", "__setitem__", "__eq__"),
    *("__enter__", "__exit__", "__aenter__", "__aexit__"),
)

#: The objects that a page lists are the indented lines after this directive.
_OBJECTS = re.compile(r"^\.\. objects::\n\n((?:   \S+\n)+)", re.MULTILINE)
_GROUPS = re.compile(r"^\.\. verbs:: (.+)$", re.MULTILINE)


class Field(NamedTuple):
    """An attribute that isn't a property."""

    type: str
    text: str


@cache
def verbs() -> dict[str, list[dict[str, Any]]]:
    """docs/verbs.toml: groups of methods, and classes of which only some members are public."""
    return tomllib.loads((DOCS / "verbs.toml").read_text("utf-8"))


def group(title: str) -> dict[str, Any]:
    """A group of methods by its title; `names` are all its methods."""
    (found,) = (each for each in verbs()["group"] if each["title"] == title)
    return {**found, "names": [*found["plain"], *found["asks"]]}


def grouped(cls: type) -> set[str]:
    """The methods of a class that are in a group."""
    return {name for each in verbs()["group"] if each["of"] == cls.__name__ for name in each["plain"] + each["asks"]}


def pages() -> dict[str, str]:
    """The text of each reference page, by the name of its file."""
    return {path.name: path.read_text("utf-8") for path in sorted(PAGES.glob("*.md"))}


def objects(text: str) -> list[str]:
    """The objects that a page lists: module and name."""
    return [name for block in _OBJECTS.findall(text) for line in block.split() for name in expanded(line)]


def expanded(line: str) -> list[str]:
    """The object that a line of a list names; if that is a module, all classes and functions that it defines."""
    try:
        module = import_module(line)
    except ModuleNotFoundError:
        return [line]
    return [f"{line}.{name}" for name in defined(module)]


def groups(text: str) -> list[str]:
    """The titles of the groups of methods that a page lists."""
    found: list[str] = _GROUPS.findall(text)
    return found


def find(name: str) -> Any:
    """The object of a name like `mbuf.pool.file.File`."""
    module, _, rest = name.rpartition(".")
    try:
        return getattr(import_module(module), rest)
    except ModuleNotFoundError:
        return getattr(find(module), rest)


def defined(module: ModuleType) -> list[str]:
    """The classes and functions that a module defines, without those whose names begin with an underscore."""
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__ == module.__name__
    ]


def members(cls: type) -> list[str]:
    """The public members of a class, in the order of its source: fields, then properties and methods.

    Members of its base classes are on the pages of those, if they have one, as is a method that only overrides.
    """
    for each in verbs()["class"]:
        if each["of"] == cls.__name__ and "names" in each:
            return list(each["names"])
    names = list(fields(cls))
    inherited = _inherited(cls)
    for owner in _owners(cls):
        internal = _c_only(owner)
        for name, thing in vars(owner).items():
            member = isinstance(thing, property) or (callable(getattr(owner, name)) and not inspect.isclass(thing))
            described = bool(thing.__doc__)
            shown = described and name in PROTOCOLS if name.startswith("_") else described or name not in inherited
            if member and shown and name not in internal:
                names.append(name)
    return list(dict.fromkeys(names))


def _inherited(cls: type) -> set[str]:
    """The members of the base classes that have an entry on a page."""
    return {name for base in cls.__mro__[1:] if base in classes() for name in dir(base)}


def _owners(cls: type) -> list[type]:
    """A class and those of its bases in the package that have no entry on a page, the class last."""
    others = classes() - {cls}
    return [base for base in reversed(cls.__mro__) if base.__module__.startswith("mbuf.") and base not in others]


@cache
def listed() -> frozenset[str]:
    """All objects that the pages list."""
    return frozenset(name for text in pages().values() for name in objects(text))


@cache
def classes() -> frozenset[type]:
    """All classes that the pages list."""
    return frozenset(thing for thing in map(find, listed()) if inspect.isclass(thing))


def fields(cls: type) -> dict[str, Field]:
    """The public attributes of a class that aren't properties, with their comments."""
    texts: dict[str, str] = {}
    types: dict[str, str] = {}
    for base in _owners(cls):
        texts.update(comments(sys.modules[base.__module__].__file__ or "", base.__name__))
        types.update({name: _written(kind) for name, kind in inspect.get_annotations(base).items()})
    names = getattr(cls, "__dataclass_fields__", None) or getattr(cls, "_fields", None)
    if names is None:
        inherited = _inherited(cls) - texts.keys()
        names = [name for base in _owners(cls) for name in _attributes(base) if name not in inherited]
    return {name: Field(types.get(name, ""), texts.get(name, "")) for name in names if not name.startswith("_")}


def _written(kind: Any) -> str:
    """A type as it is written in the source, where it may be a text, a class, or, in a named tuple, a reference."""
    if isinstance(kind, ForwardRef):
        return kind.__forward_arg__
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _attributes(cls: type) -> list[str]:
    """The attributes that a compiled class declares as public; of another class, those set in it or by `__init__`."""
    declared = _declared(cls)
    if declared is not None:
        found = re.findall(r"^    cdef (?:public|readonly) [\w ]*?(\w+(?:, \w+)*)$", declared, re.MULTILINE)
        return [name for names in found for name in names.split(", ")]
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    names = [name for name, thing in vars(cls).items() if not callable(thing) and not hasattr(thing, "__get__")]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            names += [each.attr for each in ast.walk(node) if _is_set(each)]
    return [name for name in dict.fromkeys(names) if not isinstance(getattr(cls, name, None), property)]


def _is_set(node: ast.AST) -> bool:
    """True for `self.name` on the left of an assignment."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def _declared(cls: type) -> str | None:
    """The body of a class in the `.pxd` of its module; None if it isn't declared there."""
    source = Path(sys.modules[cls.__module__].__file__ or "").with_suffix(".pxd")
    if not source.exists():
        return None
    body = re.search(rf"^cdef class {cls.__name__}\b.*\n((?:(?: .*)?\n)*)", source.read_text("utf-8"), re.MULTILINE)
    return None if body is None else body[1]


def _c_only(cls: type) -> set[str]:
    """The methods that only C code can call: those declared with cdef."""
    return set(re.findall(r"^    cdef [^(\n]*?(\w+)\(", _declared(cls) or "", re.MULTILINE))


def undocumented() -> Iterator[str]:
    """The public objects and members on the pages that neither describe themselves nor are described by their class."""
    for name in sorted(listed()):
        thing = find(name)
        if (inspect.isclass(thing) or inspect.isroutine(thing)) and not thing.__doc__:
            yield name
        if inspect.isclass(thing):
            known = fields(thing)
            for member in members(thing):
                text = known[member].text if member in known else inspect.getdoc(inspect.getattr_static(thing, member))
                if not text and f"`{member}`" not in (thing.__doc__ or ""):
                    yield f"{name}.{member}"
