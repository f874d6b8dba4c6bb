"""Directives of the reference pages, for reStructuredText (`eval-rst` in Markdown).

`objects` describes the objects whose names follow, by their docstrings and comments; `verbs` a group of methods of
docs/verbs.toml, by its title: what each costs, then what each does; `others` the members of a class that are in no
group. `constants` are those of mbuf/const.py, by section;
`probes` are the probes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import public
from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import mbuf
from mbuf import const

#: Names of the kernel's functions and macros, where a docstring says "See ...".
_KERNEL = re.compile(r"\b(?:m_\w+|mb_\w+|mbufq_\w+|M_PREPEND|in_cksum\w*)\b")
#: Records that users make.
_MADE = ("RateLimit", "Unlimited")
_WITH = ("__enter__", "__exit__", "__aenter__", "__aexit__")
#: Classes whose members that are in no group of methods come last on the page, by `others`.
_SPLIT = ("mbuf.Pool",)
_CONSTANT = re.compile(r"(\w+) = (.*?)  #: (.*)")


class Described(SphinxDirective):
    """A directive that is written out as reStructuredText."""

    def parse(self, lines: Iterable[str]) -> list[nodes.Node]:
        parent = nodes.Element()
        self.state.nested_parse(StringList(list(lines), self.get_location()), self.content_offset, parent)
        return parent.children


class Objects(Described):
    """A table of objects with the first sentence of each, if there are several; then each in full."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        names = [name for line in self.content for name in public.expanded(line.strip())]
        rows = [(_link(name), _sentence(public.find(name))) for name in names]
        lines = _table(("name", "what it is"), (30, 70), rows) if len(rows) > 1 else []
        return self.parse([*lines, *(line for name in names for line in _entry(name))])


class Verbs(Described):
    """What the methods of a group cost, as a table; then each in full."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        group = public.group(self.arguments[0])
        owner = f"mbuf.{group['of']}"
        rows = [self.row(group, owner, name) for name in group["names"]]
        lines = [group["says"], "", *_table(("method", "allocates", "bytes", "in the kernel"), (30, 14, 22, 34), rows)]
        for name in group["names"]:
            lines += [f".. automethod:: {owner}.{name}", ""]
        return self.parse(lines)

    def row(self, group: dict[str, Any], owner: str, name: str) -> tuple[str, ...]:
        does = [word for word, key in (("copied", "copies"), ("shared", "shares")) if name in group[key]]
        return (
            _link(f"{owner}.{name}"),
            "yes" if name in group["asks"] else "no",
            " or ".join(does) or "stay",
            ", ".join(f"``{each}``" for each in _kernel(public.find(f"{owner}.{name}"))),
        )


class Others(Described):
    """The members of a class that are in no group of methods, each in full."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        owner = self.arguments[0]
        cls = public.find(owner)
        lines: list[str] = []
        for name in _ungrouped(cls):
            kind = "property" if isinstance(inspect.getattr_static(cls, name), property) else "method"
            lines += [f".. auto{kind}:: {owner}.{name}", ""]
        return self.parse(lines)


class Constants(SphinxDirective):
    """A table for each section of mbuf/const.py: name, value, meaning. Each name can be linked to and searched."""

    def run(self) -> list[nodes.Node]:
        made: list[nodes.Node] = []
        for title, rows in _sections(Path(const.__file__).read_text("utf-8")):
            section = nodes.section(ids=[nodes.make_id(f"constants {title}")])
            children, _ = self.parse_inline(title)
            section += [nodes.title("", "", *children), self.table(rows)]
            made.append(section)
        return made

    def table(self, rows: list[tuple[str, str, str]]) -> nodes.table:
        body = nodes.tbody()
        for name, written, meaning in rows:
            value = getattr(const, name)
            shown = f"{value:#x}" if written.startswith(("0x", "M_")) else str(value)
            body += _row(self.label(name), nodes.literal("", shown), self.parse_inline(meaning)[0])
        header = nodes.thead("", _row(*(nodes.Text(word) for word in ("name", "value", "meaning"))))
        group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in (34, 16, 50)), header, body, cols=3)
        return nodes.table("", group, classes=["names"])

    def label(self, name: str) -> nodes.Node:
        target = f"mbuf.{name}"
        node = nodes.literal("", name, ids=[target])
        self.env.domains.python_domain.note_object(target, "data", target, location=node)
        index = addnodes.index(entries=[("single", f"{name} (constant)", target, "", None)])
        return nodes.inline("", "", index, node)


class Probes(Described):
    """The table of probes."""

    def run(self) -> list[nodes.Node]:
        rows = [
            (f"``{name}``", ", ".join(f"``{arg}``" for arg in args), escaped(sentence))
            for name, args, sentence in mbuf.PROBES.values()
        ]
        return self.parse(_table(("probe", "arguments", "fires when"), (18, 28, 54), rows))


def _sections(source: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The sections of mbuf/const.py: the comment above each, and its constants: name, value as written, meaning."""
    found: list[tuple[str, list[tuple[str, str, str]]]] = []
    for line in source.splitlines():
        if line.startswith("# "):
            found.append((line[2:].rstrip("."), []))
        elif constant := _CONSTANT.fullmatch(line):
            found[-1][1].append((constant[1], constant[2], constant[3]))
    return found


def _row(*cells: Any) -> nodes.row:
    """A row of a table, of nodes or lists of nodes."""
    row = nodes.row()
    for cell in cells:
        row += nodes.entry("", nodes.paragraph("", "", *(cell if isinstance(cell, list) else [cell])))
    return row


def _table(header: tuple[str, ...], widths: tuple[int, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A table in reStructuredText; nothing if it has no rows."""
    if not rows:
        return []
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        f"   :widths: {' '.join(map(str, widths))}",
        "   :class: names",
        "",
    ]
    for row in (header, *rows):
        lines += [f"   {'*' if at == 0 else ' '} - {cell}" for at, cell in enumerate(row)]
    return [*lines, ""]


def _entry(name: str) -> list[str]:
    """An object in full."""
    thing = public.find(name)
    if inspect.isclass(thing):
        return _class(name, thing)
    if inspect.isroutine(thing):
        return [f".. autofunction:: {name}", ""]
    return [f".. autodata:: {name}", "   :no-value:", ""]


def _class(name: str, cls: type) -> list[str]:
    """A class: its docstring, its fields with their comments, and its members that are in no group of methods."""
    fields = public.fields(cls)
    names = [] if name in _SPLIT else _ungrouped(cls)
    called = [member for member in names if member not in fields]
    for base in cls.__mro__:
        # Uncompiled, this does what C does before `__init__`; its arguments aren't those of the class.
        if inspect.isfunction(vars(base).get("__new__")):
            type.__delattr__(base, "__new__")
    lines = [f".. auto{'exception' if issubclass(cls, Exception) else 'class'}:: {name}"]
    if called:
        lines += [f"   :members: {', '.join(called)}", f"   :special-members: {', '.join(called)}"]
    if _shown_bases(cls):
        lines.append("   :show-inheritance:")
    lines.append("")
    for field in (member for member in names if member in fields and fields[member].text):
        annotation, text = fields[field]
        typed = [f"      :type: {annotation}"] if annotation else []
        lines += [f"   .. py:attribute:: {field}", *typed, "", f"      {escaped(text)}", ""]
    return lines


def _ungrouped(cls: type) -> list[str]:
    return [member for member in public.members(cls) if member not in public.grouped(cls)]


def _shown_bases(cls: type) -> list[type]:
    """The base classes that are on a page, and Python's own exceptions; the others are for the package itself."""
    return [base for base in cls.__bases__ if base in public.classes() or issubclass(base, Exception)]


def _bases(_app: Sphinx, _name: str, cls: type, _options: Any, bases: list[Any]) -> None:
    bases[:] = _shown_bases(cls)


def _docstring(_app: Sphinx, what: str, name: str, thing: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks: nothing else in them is markup.

    An object of a module begins with how it is imported, as the other pages do it.
    """
    lines[:] = escaped("\n".join(lines)).split("\n")
    if what in ("class", "exception", "function"):
        lines[:0] = [f"``from {_shortest(name, thing)} import {name.rpartition('.')[2]}``", ""]


def _shortest(name: str, thing: Any) -> str:
    """The package that lists an object in its `__all__`, the outermost if several do; else its module."""
    module, _, last = name.rpartition(".")
    for package in ("mbuf", "mbuf.net", "mbuf.net.aio", "mbuf.http"):
        exports = import_module(package)
        if last in exports.__all__ and getattr(exports, last) is thing:
            return package
    return module


def escaped(text: str) -> str:
    """A plain text as reStructuredText: code in backticks and constants are code; else only lists are markup."""
    return re.sub(r"`[^`]+`|\b[A-Z]\w+\b|^ *\* |[\\*_|]", _escape, text, flags=re.MULTILINE)


def _escape(found: re.Match[str]) -> str:
    text = found[0]
    if text[0] in "` " or text == "* ":
        return text
    return f"`{text}`" if text in mbuf.__all__ and hasattr(const, text) else re.sub(r"([\\*_|])", r"\\\1", text)


def _signature(
    _app: Sphinx, what: str, _name: str, thing: Any, _options: Any, signature: str | None, _result: str | None
) -> tuple[str, None] | None:
    """No arguments for a class that users don't make, but get, and for the methods that `with` calls."""
    if not signature:
        return None
    hidden = not _made_by_users(thing) if what in ("class", "exception") else thing.__name__ in _WITH
    return ("", None) if hidden else None


def _made_by_users(cls: type) -> bool:
    """False for records of what was found, errors, and classes whose `__init__` refuses or takes any arguments."""
    if hasattr(cls, "__dataclass_fields__") or hasattr(cls, "_fields") or issubclass(cls, Exception):
        return cls.__name__ in _MADE
    made = vars(cls).get("__init__")
    head = "" if made is None else "".join(islice(inspect.getsource(made).splitlines(), 2))
    return bool(head) and "raise TypeError" not in head and "*fields" not in head


def _link(name: str) -> str:
    thing = public.find(name)
    if inspect.isclass(thing):
        role = "class"
    elif not inspect.isroutine(thing):
        role = "data"
    else:
        role = "meth" if "." in thing.__qualname__ else "func"
    return f":py:{role}:`{name.rpartition('.')[2]} <{name}>`"


def _sentence(thing: Any) -> str:
    """The first sentence of a docstring."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return ""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return escaped(re.split(r"(?<=[.:])\s+(?=[A-Z`])", text)[0].removesuffix(":"))


def _kernel(fn: Any) -> list[str]:
    """The kernel's names that a docstring refers to."""
    text = " ".join((fn.__doc__ or "").split())
    return _KERNEL.findall(" ".join(re.findall(r"See (.+?)\.", text)))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("objects", Objects)
    app.add_directive("verbs", Verbs)
    app.add_directive("others", Others)
    app.add_directive("constants", Constants)
    app.add_directive("probes", Probes)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-bases", _bases)
    return {"parallel_read_safe": True}
