"""What the public classes offer, found by reflection: every method, property, field and protocol.

Signatures are read from the sources, for compiled methods have none.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import mbuf
from mbuf import Pool, Vm
from mbuf.packet.cluster import Cluster

#: Python's flag of classes that are made by a `class` statement that is run, not compiled.
HEAPTYPE = 1 << 9
SRC = Path(__file__).parents[2] / "src"


class Param(NamedTuple):
    """A parameter of a method."""

    name: str
    annotation: str
    required: bool


class Member(NamedTuple):
    """One thing that can be asked of an object: `kind` is call, get, set, delete, or operator."""

    role: str
    name: str
    kind: str
    params: tuple[Param, ...]

    def __str__(self) -> str:
        suffix = {"call": "", "get": "?", "set": "=", "delete": "!", "operator": ""}[self.kind]
        return f"{self.role}.{self.name}{suffix}"


def roles() -> dict[str, type]:
    """The classes whose objects a user has, by what they are called in a scene."""
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


#: Classes of which no object changes: nothing to attack.
CONSTANT = frozenset(["Limits"])

#: Names that look public and aren't; those that exist no more do no harm here.
INSIDE: dict[str, frozenset[str]] = {
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
    "sb": frozenset(
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
    ),
    "st": frozenset(
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
            "limit",
        ]
    ),
    "tag": frozenset(["cookie", "id"]),
    "probes": frozenset(["fire", "silence", "listen", "ignore", "on", "listening"]),
    "hdr": frozenset(),
    "epg": frozenset(["set_pages", "set_run", "spans", "number", "numbers", "first", "npgs", "reset", "copy", "pages"]),
}

#: Protocols, and how they are asked for.
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


#: What is dropped: whatever holds mbufs, or belongs to one.
DROPPED = frozenset(["m", "q", "sb", "st", "tag", "epg", "ext", "hdr", "file", "cl"])


@cache
def internal(cls: type) -> frozenset[str]:
    """Names of a class that C alone has: those declared as cdef in the .pxd beside it."""
    names: set[str] = set()
    for base in cls.__mro__:
        home = SRC / (base.__module__.replace(".", "/") + ".pxd")
        if base.__module__.startswith("mbuf.") and home.exists():
            body = re.search(rf"^cdef class {base.__name__}\b.*\n((?:(?: .*)?\n)*)", home.read_text("utf-8"), re.M)
            if body is not None:
                names.update(re.findall(r"^ +cdef (?!public|readonly)[^(\n]*?(\w+)(?:\(.*|)$", body[1], re.M))
    return frozenset(names)


@cache
def open_fields(cls: type) -> frozenset[str]:
    """Fields of a class that anybody may set: those declared as public in the .pxd beside it."""
    names: set[str] = set()
    for base in cls.__mro__:
        home = SRC / (base.__module__.replace(".", "/") + ".pxd")
        if base.__module__.startswith("mbuf.") and home.exists():
            body = re.search(rf"^cdef class {base.__name__}\b.*\n((?:(?: .*)?\n)*)", home.read_text("utf-8"), re.M)
            for line in re.findall(r"^ +cdef public \S+(?: \S+)*? ([\w, ]+)$", body[1], re.M) if body else ():
                names.update(line.replace(",", " ").split())
    return frozenset(names)


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
    """The definition of a method, of the class or one that it inherits from; None for what is a field."""
    for base in cls.__mro__:
        if base.__module__.startswith("mbuf."):
            found = _classes(base.__module__).get(base.__name__, {}).get(name)
            if found is not None:
                return found
    return None


def params(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[Param, ...]:
    """The parameters behind `self`."""
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
    """True for a property, or what sets one."""
    return any(
        (isinstance(d, ast.Name) and d.id == "property") or (isinstance(d, ast.Attribute) and d.attr == "setter")
        for d in node.decorator_list
    )


def _is_settable(cls: type, name: str, node: ast.FunctionDef | ast.AsyncFunctionDef | None) -> bool:
    """True for what a user may set, and for what a compiled class is to refuse.

    Where Python itself lets anybody set anything, it isn't tried.
    """
    if not cls.__flags__ & HEAPTYPE:
        return True
    if node is not None:
        return any(isinstance(d, ast.Attribute) and d.attr == "setter" for d in node.decorator_list)
    return name in open_fields(cls)


def members() -> list[Member]:
    """Everything, in an order that is always the same."""
    found: list[Member] = []
    for role, cls in roles().items():
        hidden = internal(cls) | INSIDE.get(role, frozenset())
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
