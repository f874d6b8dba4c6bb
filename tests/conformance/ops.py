"""The operations of a trace, each done by the calls of the library.

One table: what isn't in it isn't built. An operation returns its `r`, None for nothing to report; refused
memory, it raises, as the library does.
"""

from collections.abc import Callable, Mapping
from typing import Any

from conformance.machine import HEADER, Machine, pat
from mbuf import M_EXT, M_PKTHDR, MJUMPAGESIZE, VM_LOW_KMEM, Inval, NoBufs, NoMemory
from mbuf.testing import put

Op = Mapping[str, Any]
Perform = Callable[[Machine, Op], Any]

#: Calls of a pool that give an mbuf, with the arguments that they take in this order.
ALLOCATIONS = {
    "get": ("how", "type"),
    "gethdr": ("how", "type"),
    "getcl": ("how", "type", "flags"),
    "getjcl": ("how", "type", "flags", "size"),
    "get2": ("size", "how", "type", "flags"),
}

#: The kernel's sysctls that the library doesn't know yet; any other name that it doesn't know is an error.
LATER = ("max_datalen", "max_hdr", "max_linkhdr", "max_protohdr", "mb_use_ext_pgs", "num_snd_tags")

#: Sysctls that can't be written: the kernel answers EPERM and tells no value, where the library says `Inval`.
READ_ONLY = ("maxmbufmem",)

#: Arguments for which the kernel returns NULL, and that the library finds wrong.
NULL: Mapping[str, Callable[[Op], bool]] = {
    "get2": lambda op: op["size"] > MJUMPAGESIZE,
    "getm": lambda op: op["len"] == 0,
    "getm2": lambda op: op["len"] == 0,
}


def unbuilt(op: Op) -> str | None:
    """What the library would need for an operation and hasn't got; None if nothing is missing."""
    if op["op"] == "sysctl" and op["name"] in LATER:
        return f"sysctl {op['name']}"
    return None if op["op"] in OPS else op["op"]


def is_null(op: Op, error: Exception) -> bool:
    """Whether an error stands for the kernel's NULL."""
    if isinstance(error, Inval):
        return op["op"] in NULL and NULL[op["op"]](op)
    return isinstance(error, NoBufs | NoMemory)


def _allocation(name: str) -> Perform:
    def perform(s: Machine, op: Op) -> int:
        arguments = [op[argument] for argument in ALLOCATIONS[name]]
        s.m[op["m"]] = getattr(s.pool, name)(*arguments, timeout=0)
        return 1

    return perform


def _getm2(s: Machine, op: Op) -> int:
    m = s.m[op["m"]] if op.get("append") else None
    s.m[op["m"]] = s.pool.getm2(op["len"], op["how"], op["type"], op.get("flags", M_PKTHDR), m, timeout=0)
    return 1


def _get_noinit(s: Machine, op: Op) -> int:
    """To ask for no bytes is to ask for any flags."""
    s.m[op["m"]] = s.pool.get2(0, op["how"], op["type"], op["flags"], timeout=0)
    return 1


def _clget(s: Machine, op: Op) -> int:
    return int(bool(s.pool.clget(s.at(op), op["how"], timeout=0).flags & M_EXT))


def _cljget(s: Machine, op: Op) -> int:
    if op["m"] is None:
        s.c[op["c"]] = s.pool.cljget(None, op["how"], op["size"], timeout=0)
    else:
        s.pool.cljget(s.at(op), op["how"], op["size"], timeout=0)
    return 1


def _cljset(s: Machine, op: Op) -> None:
    s.at(op).cljset(s.c.pop(op["c"]))


def _clfree(s: Machine, op: Op) -> None:
    s.c.pop(op["c"]).free()


def _free(s: Machine, op: Op) -> int:
    rest = s.m.pop(op["m"]).free()
    if rest is None:
        return 0
    s.m[op["m"]] = rest
    return 1


def _freem(s: Machine, op: Op) -> None:
    s.m.pop(op["m"]).freem()


def _link(s: Machine, op: Op) -> None:
    s.m[op["m"]].last().next = s.m.pop(op["n"])


def _setlen(s: Machine, op: Op) -> None:
    s.at(op).len = op["len"]


def _orflags(s: Machine, op: Op) -> None:
    s.at(op).flags |= op["flags"]


def _put(s: Machine, op: Op) -> None:
    put(s.at(op), op["off"], pat(op["seed"], op["len"]))


def _hdrset(s: Machine, op: Op) -> None:
    for name, value in op["set"].items():
        if name == "rcvif":
            value = None if value < 0 else value
        setattr(s.m[op["m"]].pkthdr, HEADER.get(name, name), value)


def _rcvif(s: Machine, op: Op) -> int:
    rcvif = s.m[op["m"]].pkthdr.rcvif
    return -1 if rcvif is None else rcvif


def _append(s: Machine, op: Op) -> int:
    s.m[op["m"]].append(pat(op["seed"], op["len"]))
    return 1


def _copypacket(s: Machine, op: Op) -> int:
    s.m[op["dst"]] = s.m[op["m"]].copypacket(op["how"], timeout=0)
    return 1


def _align(s: Machine, op: Op) -> None:
    s.at(op).align(op["len"])


def _space(s: Machine, op: Op) -> list[int]:
    m = s.at(op)
    return [int(m.writable), m.leading, m.trailing, m.size, m.refcnt if m.ext else -1]


def _length(s: Machine, op: Op) -> list[int]:
    first = m = s.m[op["m"]]
    index = 0
    while m is not first.last():
        m = m.next
        index += 1
    return [first.length(), index]


def _sysctl(s: Machine, op: Op) -> list[int]:
    name = f"kern.ipc.{op['name']}"
    try:
        before = s.pool.sysctl[name]
    except KeyError:
        return [-1, 0]
    if "val" in op:
        try:
            s.pool.sysctl[name] = op["val"]
        except Inval:
            return [1, 0] if op["name"] in READ_ONLY else [22, before]
    return [0, before]


def _reclaim(s: Machine, op: Op) -> None:
    getattr(s.pool.zones, op["zone"]).reclaim(op["req"])


OPS: Mapping[str, Perform] = {
    "nop": lambda s, op: None,
    **{name: _allocation(name) for name in ALLOCATIONS},
    "get_noinit": _get_noinit,
    "getm2": _getm2,
    "getm": _getm2,
    "clget": _clget,
    "cljget": _cljget,
    "cljset": _cljset,
    "clfree": _clfree,
    "free": _free,
    "freem": _freem,
    "link": _link,
    "setlen": _setlen,
    "orflags": _orflags,
    "put": _put,
    "hdrset": _hdrset,
    "rcvif": _rcvif,
    "append": _append,
    "copypacket": _copypacket,
    "align": _align,
    "space": _space,
    "length": _length,
    "sysctl": _sysctl,
    "reclaim": _reclaim,
    "lowmem": lambda s, op: s.pool.vm.lowmem.invoke(VM_LOW_KMEM),
}
