"""Writes docs/reference.md: every verb and attribute, from its docstring and docs/verbs.toml. See `make docs`.

Run it uncompiled: compiled methods don't tell their signatures.
"""

import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import mbuf
from mbuf.pool.audit import PoolAudit, ZoneAudit
from mbuf.pool.drains import Drains
from mbuf.pool.lowmem import MemoryWatch
from mbuf.pool.probes import MbufProbes
from mbuf.pool.reclaim import Reclaim
from mbuf.pool.reserve import Reserve
from mbuf.pool.stat import PoolStat
from mbuf.pool.sysctl import Sysctl
from mbuf.uma.limit import Warnings
from mbuf.uma.stat import ZoneStat

HERE = Path(__file__).parent

HEAD = """# Reference

Every verb and attribute of mbufs, pools and what they return. Written by `make docs` from the docstrings and from
docs/verbs.toml; the tests compare the tables with the verbs.

The tables tell whether a verb may *allocate* (mbufs, or the memory of tags), whether it may copy *bytes* or share
external storage, and what it does when there is no memory; a verb that allocates nothing needs none. A verb that
fails changes nothing, whatever the error: chains, bytes, reference counts and the pool are as before. Bad arguments
raise `Inval`, and every verb of a freed mbuf raises `Freed`.

`how` is M_NOWAIT or M_WAITOK, which waits for at most `timeout` seconds. A verb without this argument doesn't wait.
"""

PROBES = """## Probes

`pool.probes.attach(name, fn)` calls `fn` with these arguments, by the thread that allocates or frees, until
`pool.probes.detach(name, fn)`; `with pool.probes.attached(name, fn):` does both. A listener can read an mbuf;
to change, link, share or free it raises `Busy`. A new mbuf is shown by a stand-in, which is as freed when the listener
returns: to know it again, keep `m.id`. What a listener does fires no probe. An exception that it raises
is logged, and the listener is detached. A probe without listeners costs the test of a flag. `mbuf replay --trace`
prints all probes.

| probe | arguments | fires when |
|---|---|---|"""

#: Defaults by the names that readers know.
NAMES = (
    (f"len: int = {mbuf.M_COPYALL}", "len: int = M_COPYALL"),
    ("how: int = 1", "how: int = M_NOWAIT"),
    ("type: int = 1)", "type: int = MT_DATA)"),
    ("type: int = 1,", "type: int = MT_DATA,"),
    (f"type: int = {mbuf.EXT_NET_DRV}", "type: int = EXT_NET_DRV"),
    (f"clsize: int = {mbuf.MCLBYTES}", "clsize: int = MCLBYTES"),
    (f"size: int = {mbuf.MJUMPAGESIZE}", "size: int = MJUMPAGESIZE"),
    ("flags: int = 2", "flags: int = M_PKTHDR"),
    (f"mlen: int = {mbuf.MBUF_PEXT_MAX_PGS * mbuf.PAGE_SIZE}", "mlen: int = MBUF_PEXT_MAX_PGS * PAGE_SIZE"),
)

#: What a reader would call the object.
OWNERS = {
    **{"Mbuf": "m", "Pool": "pool", "Tag": "tag", "SndTag": "tag", "MbufQ": "queue", "File": "file"},
    **{"SockBuf": "buffer", "StreamBuffer": "buffer"},
    **{"Limits": "limits", "Sysctl": "pool.sysctl", "Reserve": "pool.reserve", "Drains": "pool.drains"},
    **{"Reclaim": "pool.reclaim", "MbufProbes": "pool.probes"},
}

#: Classes with parts of a pool, which `mbuf` itself doesn't have.
PARTS: dict[str, Any] = {
    part.__name__: part
    for part in (
        *(PoolStat, ZoneStat, PoolAudit, ZoneAudit, Sysctl, Reserve, Drains, Reclaim, MemoryWatch, Warnings),
        MbufProbes,
    )
}

#: Names of the kernel's functions and macros, where a docstring says "See ...".
KERNEL = re.compile(r"\b(?:m_\w+|mb_\w+|mbufq_\w+|M_PREPEND|in_cksum\w*)\b")


def listed(what: str) -> list[dict[str, Any]]:
    """The groups, or the classes, of docs/verbs.toml."""
    found: list[dict[str, Any]] = tomllib.loads((HERE / "verbs.toml").read_text("utf-8"))[what]
    return found


def page() -> str:
    parts = [HEAD]
    for group in listed("group"):
        parts.append(f"## {group['title']}\n\n{group['says']}\n")
        names = [*group["plain"], *group["asks"]]
        rows = ["| verb | allocates | bytes | without memory | the kernel's name |", "|---|---|---|---|---|"]
        parts.append("\n".join([*rows, *(row(group, name) for name in names)]) + "\n")
        parts += [entry(group["of"], name) for name in names]
    for each in listed("class"):
        parts.append(f"## {each['title']}\n\n{description(each)}")
    return "\n".join([*parts, probes()])


def description(each: dict[str, Any]) -> str:
    """A class: how it is made, its docstring, its methods that are in no group, and a table of its attributes."""
    of = each["of"]
    owner = class_of(of)
    parts = [f"{inspect.getdoc(owner)}\n"]
    if of == "Pool":
        made = inspect.signature(owner.__init__).replace(return_annotation=inspect.Signature.empty)
        parts.insert(0, f"```python\n{plain(str(made).replace('(self, ', 'Pool('))}\n```\n")
    grouped = {name for group in listed("group") if group["of"] == of for name in (*group["plain"], *group["asks"])}
    names = [name for name in each.get("names", public(owner)) if name not in grouped]
    rows = [f"| `{name}` | {attribute(owner, name)} |" for name in names if not callable(getattr(owner, name, None))]
    if rows:
        parts.append("\n".join(["| attribute | what it is |", "|---|---|", *rows]) + "\n")
    parts += [entry(of, name) for name in names if callable(getattr(owner, name, None))]
    return "\n".join(parts)


def class_of(of: str) -> Any:
    return PARTS.get(of) or getattr(mbuf, of)


def public(owner: Any) -> list[str]:
    """Names of a class that begin with no underscore: methods, properties, fields of a dataclass.

    An uncompiled class has slots that are not to be used; compiled, they don't show.
    """
    found = [name for name in dir(owner) if isinstance(inspect.getattr_static(owner, name), property)]
    if owner is not mbuf.Mbuf:
        found += [name for name in dir(owner) if inspect.isroutine(getattr(owner, name))]
    return [name for name in (*fields(owner), *found) if not name.startswith("_")]


def fields(owner: Any) -> tuple[str, ...]:
    """The fields of a dataclass or a named tuple."""
    return tuple(getattr(owner, "__dataclass_fields__", getattr(owner, "_fields", ())))


def attribute(owner: Any, name: str) -> str:
    """What an attribute is: the docstring of a property, or the comment above a field."""
    text = comments(owner)[name] if name in fields(owner) else inspect.getdoc(getattr(owner, name)) or ""
    return " ".join(text.split()).replace("|", "\\|")


def comments(owner: Any) -> dict[str, str]:
    """The comment (`#:`) above each field; fields that follow one another share it."""
    found: dict[str, str] = {}
    text, fresh = "", True
    for line in inspect.getsource(owner).splitlines():
        if comment := re.fullmatch(r" +#: (.*)", line):
            text = f"{text} {comment[1]}" if not fresh else comment[1]
            fresh = False
        elif field := re.match(r"    (\w+): ", line):
            found[field[1]] = text
            fresh = True
    return found


def probes() -> str:
    """The table of probes."""
    rows = [f"| `{probe.name}` | {', '.join(probe.args)} | {probe.sentence} |" for probe in mbuf.PROBES.values()]
    return "\n".join([PROBES, *rows]) + "\n"


def row(group: dict[str, Any], name: str) -> str:
    """A verb's line in the table of its group."""
    asks = name in group["asks"]
    failing = "raises `NoBufs` or `NoMemory`" if asks else "needs none"
    does = [word for word, key in (("copied", "copies"), ("shared", "shares")) if name in group[key]]
    names = ", ".join(kernel(verb(group["of"], name)))
    return f"| `{name}` | {'yes' if asks else 'no'} | {' or '.join(does) or 'stay'} | {failing} | {names} |"


def kernel(fn: Any) -> list[str]:
    """The kernel's names that a docstring refers to."""
    text = " ".join((fn.__doc__ or "").split())
    return KERNEL.findall(" ".join(re.findall(r"See (.+?)\.", text)))


def verb(of: str, name: str) -> Any:
    return getattr(class_of(of), name)


def entry(of: str, name: str) -> str:
    """A verb's signature, and its docstring."""
    fn = verb(of, name)
    signature = inspect.signature(fn)
    bound = list(signature.parameters.values())[not inspect.ismethod(fn) :]
    shown = signature.replace(parameters=bound)
    owner = OWNERS[of]
    text = inspect.getdoc(fn) or ""
    return f"### {owner}.{name}\n\n```python\n{owner}.{name}{plain(str(shown))}\n```\n\n{text}\n"


def plain(signature: str) -> str:
    """As a reader wants it: constants by name, no quotes."""
    signature = signature.replace("= ''", '= ""').replace("'", "").replace("mappingproxy({})", "{}")
    for value, name in NAMES:
        signature = signature.replace(value, name)
    return signature


if __name__ == "__main__":
    sys.stdout.write(page())
