"""The members of the public classes, found by reflection: methods, properties, fields and protocols.

Signatures are read from the sources, because compiled methods have none.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import mbuf
from mbuf import Pool, Vm
from mbuf.packet.cluster import Cluster
from public_names import c_only_names, pxd_bodies

#: Py_TPFLAGS_HEAPTYPE: set for classes that aren't compiled.
HEAPTYPE = 1 << 9
SRC = Path(__file__).parents[2] / "src"


class Param(NamedTuple):
    """A parameter of a method."""

    name: str
    annotation: str
    required: bool


class Member(NamedTuple):
    """A member of a class: `kind` is call, get, set, delete, or operator."""

    role: str
    name: str
    kind: str
    params: tuple[Param, ...]

    def __str__(self) -> str:
        suffix = {"call": "", "get": "?", "set": "=", "delete": "!", "operator": ""}[self.kind]
        return f"{self.role}.{self.name}{suffix}"


def roles() -> dict[str, type]:
    """The classes of objects that a user can have, by their names in a scenario."""
    pool = Pool(Vm(1 << 20), worker=False)
    found: dict[str, type] = {
        "m": mbuf.Mbuf,
        "q": mbuf.MbufQ,
        "sb": mbuf.SockBuf,
        "st": mbuf.StreamBuffer,
        "tag": mbuf.Tag,
        "snd": mbuf.SndTag,
        "ifp": mbuf.Interface,
        "epg": mbuf.Epg,
        "ext": mbuf.Ext,
        "file": mbuf.File,
        "rc": mbuf.RefCount,
        "cl": Cluster,
        "pool": mbuf.Pool,
        "vm": mbuf.Vm,
        "hdr": type(pool.gethdr().pkthdr),
        "reserve": type(pool.reserve),
        "sysctl": type(pool.sysctl),
        "drains": type(pool.drains),
        "probes": type(pool.probes),
    }
    pool.close()
    return found


#: Classes with immutable objects, which aren't tested.
IMMUTABLE = frozenset(["Limits"])

_OF_SOCKBUF = frozenset(
    [
        "check_append",
        "drained",
        "check_drained",
        "before_drop",
        "check_size",
        "check_full",
        "pause",
        "resume",
        "full",
        "cc",
        "first",
        "mcnt",
        "ccnt",
        "mbcnt",
    ]
)

#: Names without underscore that aren't public.
NOT_PUBLIC: dict[str, frozenset[str]] = {
    "pool": frozenset(
        [
            "asked",
            "asked_cl",
            "begun",
            "denied",
            "dropped",
            "enforce",
            "fire",
            "fit",
            "paired",
            "plain",
            "raw",
            "with_cluster",
            "own",
            "stock",
            "saved",
            "zones",
            "pages",
            "alive",
            "cluster",
            "cpus",
            "reclaim",
            "sfbufs",
            "snd_tags",
            "tags",
            "warnings",
            "debug",
            "limits",
        ]
    ),
    "vm": frozenset(["give", "take", "place", "denied", "host", "clock"]),
    "sb": _OF_SOCKBUF,
    "st": _OF_SOCKBUF | {"limit"},
    "tag": frozenset(["cookie", "id"]),
    "probes": frozenset(["fire", "silence", "listen", "ignore", "on", "listening"]),
    "hdr": frozenset(),
    "epg": frozenset(["set_pages", "set_run", "spans", "number", "numbers", "first", "npgs", "reset", "copy", "pages"]),
}

#: Protocols, and the methods that implement them.
OPERATORS: dict[str, tuple[str, ...]] = {
    "len": ("__len__",),
    "bytes": ("__bytes__",),
    "iter": ("__iter__",),
    "eq": ("__eq__",),
    "contains": ("__contains__", "__iter__"),
    "repr": ("__repr__",),
    "bool": ("__bool__", "__len__"),
    "view": ("__buffer__", "__getbuffer__", "__iter__"),
    "drop": (),
    "getitem": ("__getitem__",),
    "setitem": ("__setitem__",),
}


#: Roles whose last reference is dropped: objects that hold mbufs, or belong to one.
DROPPED = frozenset(["m", "q", "sb", "st", "tag", "epg", "ext", "hdr", "file", "cl"])


@cache
def open_fields(cls: type) -> frozenset[str]:
    """Fields of a class that Python code may set: those declared as public in its .pxd."""
    pattern = re.compile(r"^ +cdef public \S+(?: \S+)*? ([\w, ]+)$", re.M)
    lines = [line for body in pxd_bodies(cls) for line in pattern.findall(body)]
    return frozenset(name for line in lines for name in line.replace(",", " ").split())


@cache
def _classes(module: str) -> dict[str, dict[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The methods of each class of a module."""
    home = SRC / (module.replace(".", "/") + ".py")
    tree = ast.parse(home.read_text("utf-8"))
    return {
        node.name: {item.name: item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def method(cls: type, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The definition of a method, also of a base class; None for a field."""
    for base in cls.__mro__:
        if base.__module__.startswith("mbuf."):
            found = _classes(base.__module__).get(base.__name__, {}).get(name)
            if found is not None:
                return found
    return None


def params(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[Param, ...]:
    """The parameters after `self`."""
    arguments = node.args.args[1:]
    optional = len(node.args.defaults)
    found = [
        Param(a.arg, "" if a.annotation is None else ast.unparse(a.annotation), n < len(arguments) - optional)
        for n, a in enumerate(arguments)
    ]
    if node.args.vararg is not None:
        found.append(Param(node.args.vararg.arg, "*", True))
    return tuple(found)


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """True for the getter or setter of a property."""
    return any(
        (isinstance(d, ast.Name) and d.id == "property") or (isinstance(d, ast.Attribute) and d.attr == "setter")
        for d in node.decorator_list
    )


def _is_settable(cls: type, name: str, node: ast.FunctionDef | ast.AsyncFunctionDef | None) -> bool:
    """True for what a user may set, and for all members of a compiled class, which must refuse it.

    Classes that aren't compiled let Python code set anything, which isn't tested.
    """
    if not cls.__flags__ & HEAPTYPE:
        return True
    if node is not None:
        return any(isinstance(d, ast.Attribute) and d.attr == "setter" for d in node.decorator_list)
    return name in open_fields(cls)


def members() -> list[Member]:
    """All members, always in the same order."""
    found: list[Member] = []
    for role, cls in roles().items():
        hidden = c_only_names(cls) | NOT_PUBLIC.get(role, frozenset())
        for name in sorted(dir(cls)):
            if name.startswith("_") or name in hidden:
                continue
            node = method(cls, name)
            if node is None or _is_property(node):
                found.append(Member(role, name, "get", ()))
                if _is_settable(cls, name, node):
                    found.append(Member(role, name, "set", (Param("value", "", True),)))
                    if not cls.__flags__ & HEAPTYPE:
                        found.append(Member(role, name, "delete", ()))
            elif not any(isinstance(d, ast.Name) and d.id == "classmethod" for d in node.decorator_list):
                found.append(Member(role, name, "call", params(node)))
        for name, protocols in OPERATORS.items():
            if (not protocols and role in DROPPED) or any(
                protocol in vars(base) for base in cls.__mro__[:-1] for protocol in protocols
            ):
                found.append(Member(role, name, "operator", ()))
    return found
