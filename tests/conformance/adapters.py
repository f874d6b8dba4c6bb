"""Adapters for the differences from the kernel that are intended: see section 11 of the format.

A verb of the library that fails changes nothing. The kernel's verb may have freed the chain, or done part of its work.
After such a failure an adapter changes the chain as the kernel did, so that the next states can be compared.
"""

from collections.abc import Callable, Mapping
from typing import Any

from conformance.chain_state import pat
from conformance.expected import Difference
from conformance.machine import Machine, Op
from mbuf import M_EXTPG, M_PKTHDR, MHLEN, MJUMPAGESIZE, Inval, NoBufs, NoMemory

#: Arguments for which the kernel returns NULL and the library raises Inval.
NULL: Mapping[str, Callable[[Op], bool]] = {
    "get2": lambda op: op["size"] > MJUMPAGESIZE,
    "getm": lambda op: op["len"] == 0,
    "getm2": lambda op: op["len"] == 0,
    "devget": lambda op: op["len"] == 0 or not 0 <= op["off"] <= MHLEN,
    "uiotombuf": lambda op: op["align"] >= MHLEN,
    **dict.fromkeys(("pullup", "copyup", "pulldown", "split", "getptr", "collapse", "u2e", "m2u"), lambda op: True),
}

#: The result in a trace that stands for NULL, if it isn't 0.
NULL_RESULTS: Mapping[str, Callable[[Op], Any]] = {
    "pulldown": lambda op: [-1, -1],
    "getptr": lambda op: [-1, -1],
    # Bytes are taken from `resid` when they are copied to unmapped pages, also if a later page is refused.
    "uiotombuf": lambda op: [0, op["r"][1] if op["flags"] & M_EXTPG else op["resid"]],
    "copyback": lambda op: None,
    "m2u": lambda op: -1,
}


def null_result(op: Op) -> Any:
    """The result in a trace of an operation that has failed."""
    return NULL_RESULTS[op["op"]](op) if op["op"] in NULL_RESULTS else 0


def is_null(machine: Machine, op: Op, error: Exception) -> bool:
    """True if an error stands for the kernel's NULL. After a refused request Inval doesn't."""
    if isinstance(error, Inval):
        return op["op"] in NULL and NULL[op["op"]](op) and not machine.faults.refused
    # If the verb has no result, the trace doesn't show a failure: it needs another reason.
    limit = isinstance(error, NoBufs) and error.limit
    return isinstance(error, NoBufs | NoMemory) and bool(machine.faults.refused or "r" in op or limit)


def adapt(machine: Machine, op: Op) -> None:
    """Change the chain as the kernel has changed it when an operation failed."""
    if op["op"] in ADAPTERS:
        with machine.faults.off():
            ADAPTERS[op["op"]](machine, op)


def _after(op: Op, handle: str = "m") -> list[dict[str, Any]] | None:
    """The state of a chain after the operation; None if it has not changed."""
    after: list[dict[str, Any]] | None = op.get("chg", {}).get(str(op[handle]))
    return after


def _bytes(chain: list[dict[str, Any]]) -> int:
    return sum(m["l"] for m in chain)


def _freed(machine: Machine, op: Op) -> None:
    """The kernel has freed the chain."""
    machine.m.pop(op["m"]).freem()


def _unmapped_freed(machine: Machine, op: Op) -> None:
    """As `_freed`; the kernel frees the mbuf that it could not map before the others."""
    _freed(machine, op)
    if sorted(map(str, machine.ev)) == sorted(map(str, op.get("ev", []))):
        machine.ev = op.get("ev", [])


def _split(machine: Machine, op: Op) -> None:
    """The kernel has set the header's length already."""
    after = _after(op)
    if after:
        machine.m[op["m"]].pkthdr.len = after[0]["h"]["len"]


def _defrag(machine: Machine, op: Op) -> None:
    """The kernel has corrected the header's length already."""
    if machine.m[op["m"]].flags & M_PKTHDR:
        machine.m[op["m"]].fixhdr()


def _append(machine: Machine, op: Op) -> None:
    """The kernel has appended what there was room for."""
    after, m = _after(op), machine.m[op["m"]]
    if after:
        m.append(pat(op["seed"], op["len"])[: _bytes(after) - m.length()])


def _copyback(machine: Machine, op: Op) -> None:
    """The kernel has written what there was room for, maybe only zeros before the bytes."""
    after, m = _after(op), machine.m[op["m"]]
    end = _bytes(after) if after else m.length()
    if end >= op["off"] + op["len"]:
        raise Difference("r: expected nothing, got NoBufs")
    if after:
        m.copyback(min(op["off"], end), pat(op["seed"], op["len"])[: max(end - op["off"], 0)])
        if m.flags & M_PKTHDR:
            # `copyback` of no bytes extends the packet, but not the header's length.
            m.pkthdr.len = after[0]["h"]["len"]


def _collapse(machine: Machine, op: Op) -> None:
    """The kernel has merged some mbufs already."""
    after = _after(op)
    if after:
        machine.m[op["m"]].collapse(sum(map(_count_pieces, after)))


def _count_pieces(m: dict[str, Any]) -> int:
    """The number of pieces that collapse counts for an mbuf."""
    x = m.get("x", {})
    return x["np"] + bool(x["hl"]) + bool(x["tl"]) if "pg" in x else 1


def _dup_pkthdr(machine: Machine, op: Op) -> None:
    """The kernel has copied the header, without its tags."""
    to = machine.m[op["to"]]
    to.dup_pkthdr(machine.m[op["from"]])
    to.tag_delete_chain()


def _tag_copy_chain(machine: Machine, op: Op) -> None:
    """The kernel has deleted the old tags already."""
    machine.m[op["to"]].tag_delete_chain()


ADAPTERS: Mapping[str, Callable[[Machine, Op], None]] = {
    **dict.fromkeys(("prepend", "pullup", "copyup", "pulldown", "unshare"), _freed),
    "u2e": _unmapped_freed,
    "split": _split,
    "defrag": _defrag,
    "append": _append,
    "copyback": _copyback,
    "collapse": _collapse,
    "dup_pkthdr": _dup_pkthdr,
    "tag_copy_chain": _tag_copy_chain,
}
