"""Where the library differs from the kernel on purpose: what is done by hand so that the rest compares.

See section 11 of the format. A verb of the library that fails has changed nothing; the kernel's may have
lost the chain, or kept a first part of its work.
"""

from collections.abc import Callable, Mapping
from typing import Any

from conformance.known import Difference
from conformance.look import pat
from conformance.machine import Machine, Op
from mbuf import M_EXTPG, M_PKTHDR, MHLEN, MJUMPAGESIZE, Inval, NoBufs, NoMemory

#: Arguments for which the kernel returns NULL, and that the library finds wrong.
NULL: Mapping[str, Callable[[Op], bool]] = {
    "get2": lambda op: op["size"] > MJUMPAGESIZE,
    "getm": lambda op: op["len"] == 0,
    "getm2": lambda op: op["len"] == 0,
    "devget": lambda op: op["len"] == 0 or not 0 <= op["off"] <= MHLEN,
    "uiotombuf": lambda op: op["align"] >= MHLEN,
    **dict.fromkeys(("pullup", "copyup", "pulldown", "split", "getptr", "collapse", "u2e", "m2u"), lambda op: True),
}

#: What the kernel's NULL is in a trace, where it isn't 0.
NULLS: Mapping[str, Callable[[Op], Any]] = {
    "pulldown": lambda op: [-1, -1],
    "getptr": lambda op: [-1, -1],
    # Unmapped pages that were filled before have taken their bytes.
    "uiotombuf": lambda op: [0, op["r"][1] if op["flags"] & M_EXTPG else op["resid"]],
    "copyback": lambda op: None,
    "m2u": lambda op: -1,
}


def null(op: Op) -> Any:
    """What a trace tells when an operation has failed."""
    return NULLS[op["op"]](op) if op["op"] in NULLS else 0


def is_null(machine: Machine, op: Op, error: Exception) -> bool:
    """Whether an error stands for the kernel's NULL; wrong arguments are no reason where memory was refused."""
    if isinstance(error, Inval):
        return op["op"] in NULL and NULL[op["op"]](op) and not machine.faults.refused
    # A trace says nothing of a failure where the verb has no result: then there must be a reason.
    limit = isinstance(error, NoBufs) and error.limit
    return isinstance(error, NoBufs | NoMemory) and bool(machine.faults.refused or "r" in op or limit)


def bridge(machine: Machine, op: Op) -> None:
    """Bring about what the kernel has done when an operation of it failed."""
    if op["op"] in BRIDGES:
        with machine.faults.off():
            BRIDGES[op["op"]](machine, op)


def _shown(op: Op, handle: str = "m") -> list[dict[str, Any]] | None:
    """How a chain looks afterwards; None where it stays as it was."""
    shown: list[dict[str, Any]] | None = op.get("chg", {}).get(str(op[handle]))
    return shown


def _bytes(chain: list[dict[str, Any]]) -> int:
    return sum(m["l"] for m in chain)


def _gone(machine: Machine, op: Op) -> None:
    """The kernel has freed the chain."""
    machine.m.pop(op["m"]).freem()


def _unmapped_gone(machine: Machine, op: Op) -> None:
    """As `_gone`; the kernel frees the mbuf first that it could not map."""
    _gone(machine, op)
    if sorted(map(str, machine.ev)) == sorted(map(str, op.get("ev", []))):
        machine.ev = op.get("ev", [])


def _split(machine: Machine, op: Op) -> None:
    """The header tells the length of what would have been left."""
    shown = _shown(op)
    if shown:
        machine.m[op["m"]].pkthdr.len = shown[0]["h"]["len"]


def _defrag(machine: Machine, op: Op) -> None:
    """The header was set right first."""
    if machine.m[op["m"]].flags & M_PKTHDR:
        machine.m[op["m"]].fixhdr()


def _append(machine: Machine, op: Op) -> None:
    """What there was room for is there."""
    shown, m = _shown(op), machine.m[op["m"]]
    if shown:
        m.append(pat(op["seed"], op["len"])[: _bytes(shown) - m.length()])


def _copyback(machine: Machine, op: Op) -> None:
    """What there was room for is there, be it only zeros before the bytes."""
    shown, m = _shown(op), machine.m[op["m"]]
    end = _bytes(shown) if shown else m.length()
    if end >= op["off"] + op["len"]:
        raise Difference("r: expected nothing, got NoBufs")
    if shown:
        m.copyback(min(op["off"], end), pat(op["seed"], op["len"])[: max(end - op["off"], 0)])
        if m.flags & M_PKTHDR:
            # To write nothing there makes the packet no longer for its header.
            m.pkthdr.len = shown[0]["h"]["len"]


def _collapse(machine: Machine, op: Op) -> None:
    """Each merge makes the chain shorter, whatever the aim was."""
    shown = _shown(op)
    if shown:
        machine.m[op["m"]].collapse(sum(map(_pieces, shown)))


def _pieces(m: dict[str, Any]) -> int:
    """How often an mbuf counts for collapse."""
    x = m.get("x", {})
    return x["np"] + bool(x["hl"]) + bool(x["tl"]) if "pg" in x else 1


def _dup_pkthdr(machine: Machine, op: Op) -> None:
    """The header is there, without its tags."""
    to = machine.m[op["to"]]
    to.dup_pkthdr(machine.m[op["from"]])
    to.tag_delete_chain()


def _tag_copy_chain(machine: Machine, op: Op) -> None:
    """The tags before went first."""
    machine.m[op["to"]].tag_delete_chain()


BRIDGES: Mapping[str, Callable[[Machine, Op], None]] = {
    **dict.fromkeys(("prepend", "pullup", "copyup", "pulldown", "unshare"), _gone),
    "u2e": _unmapped_gone,
    "split": _split,
    "defrag": _defrag,
    "append": _append,
    "copyback": _copyback,
    "collapse": _collapse,
    "dup_pkthdr": _dup_pkthdr,
    "tag_copy_chain": _tag_copy_chain,
}
