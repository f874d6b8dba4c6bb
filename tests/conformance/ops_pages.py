"""The operations on mbufs of unmapped pages."""

from chains import mbufs
from conformance.chain_state import EPG, pat
from conformance.machine import Machine, Op, Perform, waits
from mbuf import PAGE_SIZE, Busy, Mbuf, NoMemory
from mbuf.testing.unchecked import aim


def _ext_pgs(s: Machine, op: Op) -> int:
    # `epg_fill` sets it later.
    arg1 = {"arg1": 0}
    s.m[op["m"]] = s.pool.alloc_ext_pgs(op["how"], s.pages_freed if op["cust"] else None, arg1, **waits(op))
    return 1


def _plus_pages(s: Machine, op: Op) -> int:
    s.m[op["m"]] = s.pool.alloc_ext_plus_pages(op["len"], op["how"], **waits(op))
    return 1


def _addpages(s: Machine, op: Op) -> int:
    """One by one, as the harness adds them."""
    for got in range(op["n"]):
        try:
            s.at(op).addpages(1)
        except NoMemory:
            return got
    return op["n"]


def _set(m: Mbuf, fields: dict[str, int]) -> None:
    for name in EPG.keys() & fields.keys():
        setattr(m.epg, EPG[name], fields[name])


def _fill(s: Machine, op: Op) -> None:
    m, fields, seed = s.at(op), op["set"], op["seed"]
    _set(m, fields)
    m.epg.hdr, m.epg.trail = pat(seed, fields["hl"]), pat(seed + 1, fields["tl"])
    m.ext.arg1 is None or m.ext.arg1.update(arg1=fields["arg1"])
    for page in range(m.epg.npgs):
        m.page(page)[:] = pat(seed + 2 + page, PAGE_SIZE)
    aim(m, op["off"], op["len"])


def _m2u(s: Machine, op: Op) -> int:
    made = s.m[op["m"]].mapped_to_unmapped(op["len"], op["mlen"], op["how"], **waits(op))
    if made is None:
        return -1
    s.m[op["dst"]] = made
    return len(mbufs(made)) - 1


def _u2e(s: Machine, op: Op) -> int:
    s.m[op["m"]].unmapped_to_ext()
    return 1


def _ucompress(s: Machine, op: Op) -> int:
    try:
        s.at(op).unmapped_compress()
    except Busy:
        return 16
    return 0


def _free_notready(s: Machine, op: Op) -> int:
    rest = s.m[op["m"]].free_notready(op["count"])
    del s.m[op["m"]]
    if rest is None:
        return 0
    s.m[op["m"]] = rest
    return 1


OPS: dict[str, Perform] = {
    "ext_pgs": _ext_pgs,
    "plus_pages": _plus_pages,
    "epg_addpages": _addpages,
    "epg_set": lambda s, op: _set(s.at(op), op["set"]),
    "epg_fill": _fill,
    "m2u": _m2u,
    "u2e": _u2e,
    "ucompress": _ucompress,
    "free_notready": _free_notready,
    "free_notready_raw": _free_notready,
}
