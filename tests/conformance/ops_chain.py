"""The operations that change, copy or read chains."""

from collections.abc import Callable
from typing import Any
from zlib import crc32

from chains import mbufs
from conformance.chain_state import pat
from conformance.machine import Machine, Op, Perform, waits
from mbuf import M_PKTHDR, Mbuf
from mbuf.testing.unchecked import put

#: Verbs of an mbuf with their arguments in this order, which have no result in a trace.
WITHOUT_RESULT = {
    "adj": ("len",),
    "align": ("len",),
    "chtype": ("type",),
    "clrprotoflags": (),
    "tag_delete_nonpersistent": (),
}
#: Verbs whose result is 1 if they succeed.
RETURNS_1 = {
    "pullup": ("len",),
    "copyup": ("len", "dstoff"),
    "defrag": ("how",),
    "unshare": ("how",),
}

#: Verbs that may return another mbuf.
RETURNS_MBUF = {
    "copym": ("off", "len", "how"),
    "copypacket": ("how",),
    "dup": ("how",),
    "split": ("len", "how"),
}

#: Fills the memory to which bytes of an mbuf are copied.
FILL = b"\xee"


def _index(first: Mbuf, m: Mbuf) -> int:
    """The index of an mbuf in a chain."""
    return [n is m for n in mbufs(first)].index(True)


def _verb(name: str, arguments: tuple[str, ...]) -> Callable[[Machine, Op], Any]:
    def call(s: Machine, op: Op) -> Any:
        given = {argument: op[argument] for argument in arguments}
        return getattr(s.at(op), name)(*given.values(), **waits(given))

    return call


def _change(name: str, arguments: tuple[str, ...], r: int | None) -> Perform:
    call = _verb(name, arguments)

    def perform(s: Machine, op: Op) -> int | None:
        call(s, op)
        return r

    return perform


def _make(name: str, arguments: tuple[str, ...]) -> Perform:
    call = _verb(name, arguments)

    def perform(s: Machine, op: Op) -> int:
        made = call(s, op)
        if made is not None:
            s.m[op["dst"]] = made
        return int(made is not None)

    return perform


def _join(name: str) -> Perform:
    def perform(s: Machine, op: Op) -> None:
        getattr(s.m[op["m"]], name)(s.m[op["n"]])
        del s.m[op["n"]]

    return perform


def _leaks_snd_tags(perform: Perform, which: str, part: Callable[[Op], slice]) -> Perform:
    """A verb that clears headers in a part of a chain: the kernel leaks the references to send tags there."""

    def leak(s: Machine, op: Op) -> Any:
        headers = [m.pkthdr for m in mbufs(s.m[op[which]])[part(op)] if m.flags & M_PKTHDR]
        s.leaked += [hdr.snd_tag.ref() for hdr in headers if hdr.snd_tag is not None]
        return perform(s, op)

    return leak


def _demote(s: Machine, op: Op) -> None:
    s.m[op["m"]].demote(bool(op["all"]), op["flags"])


def _prepend(s: Machine, op: Op) -> int:
    m = s.m[op["m"]].prepend(op["len"], op["how"], **waits(op))
    s.m[op["m"]] = m
    if op["len"]:
        put(m, m.offset, pat(op["seed"], op["len"]) + bytes(m.data[op["len"] :]))
    return 1


def _pulldown(s: Machine, op: Op) -> list[int]:
    first = s.m[op["m"]]
    m, off = first.pulldown(op["off"], op["len"], not op["useoff"])
    return [_index(first, m), off]


def _collapse(s: Machine, op: Op) -> int:
    """The kernel returns NULL if there was nothing to do."""
    m = s.m[op["m"]]
    before = len(mbufs(m))
    m.collapse(op["max"], op["how"], **waits(op))
    return int(len(mbufs(m)) < before)


def _copyback(s: Machine, op: Op) -> None:
    s.m[op["m"]].copyback(op["off"], pat(op["seed"], op["len"]))


def _append(s: Machine, op: Op) -> int:
    s.m[op["m"]].append(pat(op["seed"], op["len"]))
    return 1


def _copydata(s: Machine, op: Op) -> str:
    return f"{crc32(s.m[op['m']].copydata(op['off'], op['len'])):08x}"


def _apply(s: Machine, op: Op) -> int:
    def piece(view: memoryview) -> int:
        pieces.append({"k": "apply", "len": len(view), "crc": f"{crc32(view):08x}"})
        return 100 + len(pieces) if len(pieces) == op["stop"] else 0

    pieces: list[dict[str, Any]] = s.ev
    return s.m[op["m"]].apply(op["off"], op["len"], piece)


def _getptr(s: Machine, op: Op) -> list[int]:
    first = s.m[op["m"]]
    m, off = first.getptr(op["loc"])
    return [_index(first, m), off]


def _length(s: Machine, op: Op) -> list[int]:
    m = s.m[op["m"]]
    return [m.length(), _index(m, m.last())]


def _fixhdr(s: Machine, op: Op) -> int:
    return s.m[op["m"]].fixhdr()


def _rcvif(s: Machine, op: Op) -> int:
    rcvif = s.m[op["m"]].pkthdr.rcvif
    return -1 if rcvif is None else rcvif


def _space(s: Machine, op: Op) -> list[int]:
    m = s.at(op)
    return [int(m.writable), m.leading, m.trailing, m.size, m.refcnt if m.ext else -1]


def _move_pkthdr(s: Machine, op: Op) -> None:
    s.m[op["to"]].move_pkthdr(s.m[op["from"]])


def _dup_pkthdr(s: Machine, op: Op) -> int:
    s.m[op["to"]].dup_pkthdr(s.m[op["from"]], op["how"])
    return 1


def _devget(s: Machine, op: Op) -> int:
    def copy(source: memoryview, target: memoryview) -> None:
        target[:] = source
        s.ev.append({"k": "devcopy", "len": len(target)})

    data = pat(op["seed"], op["len"])
    interface = None if op["ifp"] < 0 else op["ifp"]
    s.m[op["m"]] = s.pool.devget(data, op["off"], interface, copy if op["cb"] else None)
    return 1


def _uiotombuf(s: Machine, op: Op) -> list[int]:
    count = min(op["resid"], op["len"] or op["resid"])
    data = pat(op["seed"], op["resid"])[:count]
    s.m[op["m"]] = s.pool.frombytes(data, op["how"], op["align"], op["flags"], **waits(op))
    return [1, op["resid"] - count]


def _mbuftouio(s: Machine, op: Op) -> list[Any]:
    there = bytearray(FILL * op["resid"])
    with memoryview(there)[: op["len"] or op["resid"]] as part:
        count = s.m[op["m"]].copyinto(part)
    return [0, op["resid"] - count, f"{crc32(there):08x}"]


OPS: dict[str, Perform] = {
    **{name: _change(name, arguments, None) for name, arguments in WITHOUT_RESULT.items()},
    **{name: _change(name, arguments, 1) for name, arguments in RETURNS_1.items()},
    **{name: _make(name, arguments) for name, arguments in RETURNS_MBUF.items()},
    "cat": _join("cat"),
    "catpkt": _leaks_snd_tags(_join("catpkt"), "n", lambda op: slice(None)),
    "demote": _leaks_snd_tags(_demote, "m", lambda op: slice(not op["all"], None)),
    "demote_pkthdr": _leaks_snd_tags(_change("demote_pkthdr", (), None), "m", lambda op: slice(1)),
    "sanity": _leaks_snd_tags(_change("sanity", ("san",), 1), "m", lambda op: slice(1, None)),
    "prepend": _prepend,
    "pulldown": _pulldown,
    "collapse": _collapse,
    "copyback": _copyback,
    "append": _append,
    "copydata": _copydata,
    "apply": _apply,
    "getptr": _getptr,
    "length": _length,
    "fixhdr": _fixhdr,
    "rcvif": _rcvif,
    "space": _space,
    "move_pkthdr": _move_pkthdr,
    "dup_pkthdr": _dup_pkthdr,
    "devget": _devget,
    "uiotombuf": _uiotombuf,
    "mbuftouio": _mbuftouio,
}
