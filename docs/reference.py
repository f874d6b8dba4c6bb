"""Writes docs/reference.md: every verb, from its docstring and docs/verbs.toml. See `make docs`."""

import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import mbuf

HERE = Path(__file__).parent

HEAD = """# The verbs

Written by `make docs` from the docstrings and from docs/verbs.toml; the tests hold the tables against the verbs.

The tables tell whether a verb may *allocate* (mbufs, or the memory of tags), whether it may copy *bytes* or share
external storage, and what becomes of a failure. Whatever the verb and the error, failing changes nothing: chains,
bytes, reference counts and the pool are as they were. Bad arguments raise `Inval`, whatever is asked of a freed
mbuf `Freed`.

`how` is M_NOWAIT or M_WAITOK, which waits for at most `timeout` seconds; where it isn't an argument, a verb doesn't
wait.
"""

PROBES = """## Probes

`pool.probes.attach(name, fn)` calls `fn` with these arguments, by the thread that allocates or frees, until
`pool.probes.detach(name, fn)`; `with pool.probes.attached(name, fn):` does both. Look at an mbuf, keep no name for it,
and free nothing. What a listener does fires nothing; one that raises is told of in the log and detached. While nobody
listens, a probe costs a look at a flag. `mbuf replay --trace` prints them all.

| probe | arguments | fires when |
|---|---|---|"""

#: Defaults by the names that readers know.
NAMES = (
    (f"len: int = {mbuf.M_COPYALL}", "len: int = M_COPYALL"),
    ("how: int = 1", "how: int = M_NOWAIT"),
    ("type: int = 1)", "type: int = MT_DATA)"),
    ("type: int = 1,", "type: int = MT_DATA,"),
    (f"type: int = {mbuf.EXT_NET_DRV}", "type: int = EXT_NET_DRV"),
    (f"size: int = {mbuf.MJUMPAGESIZE}", "size: int = MJUMPAGESIZE"),
    ("flags: int = 2", "flags: int = M_PKTHDR"),
    (f"mlen: int = {mbuf.MBUF_PEXT_MAX_PGS * mbuf.PAGE_SIZE}", "mlen: int = MBUF_PEXT_MAX_PGS * PAGE_SIZE"),
)

#: What a reader would call the object.
OWNERS = {
    **{"Mbuf": "m", "Pool": "pool", "Tag": "tag", "SndTag": "tag", "MbufQ": "queue", "File": "file"},
    **{"SockBuf": "buffer", "StreamBuffer": "buffer"},
}

#: Names of the kernel's functions and macros, where a docstring says "See ...".
KERNEL = re.compile(r"\b(?:m_\w+|mb_\w+|mbufq_\w+|M_PREPEND|in_cksum\w*)\b")


def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((HERE / "verbs.toml").read_text("utf-8"))["group"]
    return found


def page() -> str:
    parts = [HEAD]
    for group in groups():
        parts.append(f"## {group['title']}\n\n{group['says']}\n")
        names = [*group["plain"], *group["asks"]]
        rows = ["| verb | allocates | bytes | when memory runs out | the kernel's name |", "|---|---|---|---|---|"]
        parts.append("\n".join([*rows, *(row(group, name) for name in names)]) + "\n")
        parts += [entry(group["of"], name) for name in names]
    return "\n".join([*parts, probes()])


def probes() -> str:
    """The table of probes."""
    rows = [f"| `{probe.name}` | {', '.join(probe.args)} | {probe.sentence} |" for probe in mbuf.PROBES.values()]
    return "\n".join([PROBES, *rows]) + "\n"


def row(group: dict[str, Any], name: str) -> str:
    """A verb's line in the table of its group."""
    asks = name in group["asks"]
    failing = "`NoBufs` or `NoMemory`; all is as before" if asks else "never"
    does = [word for word, key in (("copied", "copies"), ("shared", "shares")) if name in group[key]]
    names = ", ".join(kernel(verb(group["of"], name)))
    return f"| `{name}` | {'yes' if asks else 'no'} | {' or '.join(does) or 'stay'} | {failing} | {names} |"


def kernel(fn: Any) -> list[str]:
    """The kernel's names that a docstring refers to."""
    text = " ".join((fn.__doc__ or "").split())
    return KERNEL.findall(" ".join(re.findall(r"See (.+?)\.", text)))


def verb(of: str, name: str) -> Any:
    return getattr(getattr(mbuf, of), name)


def entry(of: str, name: str) -> str:
    """A verb's signature, and its docstring."""
    fn = verb(of, name)
    signature = inspect.signature(fn)
    shown = signature.replace(parameters=list(signature.parameters.values())[1:])
    owner = OWNERS[of]
    text = inspect.getdoc(fn) or ""
    return f"### {owner}.{name}\n\n```python\n{owner}.{name}{plain(str(shown))}\n```\n\n{text}\n"


def plain(signature: str) -> str:
    """As a reader wants it: constants by name, no quotes."""
    signature = signature.replace("'", "")
    for value, name in NAMES:
        signature = signature.replace(value, name)
    return signature


if __name__ == "__main__":
    sys.stdout.write(page())
