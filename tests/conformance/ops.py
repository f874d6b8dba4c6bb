"""The operations of a trace, each by calls of the library.

`OPS` is the table of all operations. An operation returns its `r`, or None if it has no result, and raises the
library's errors. This module has those that allocate, and those of the harness that recorded the traces.
"""

from collections.abc import Mapping

from conformance import ops_chain, ops_pages, ops_tags
from conformance.chain_state import HEADER, pat
from conformance.machine import Machine, Op, Perform, waits
from mbuf import EXT_EXTREF, EXT_RXRING, M_EXT, M_NOFREE, M_NOWAIT, M_PKTHDR, VM_LOW_KMEM, Inval
from mbuf.packet.external import RefCount
from mbuf.pool.sysctl import NODES
from mbuf.testing.unchecked import put

#: Methods of a pool that return an mbuf, with their arguments in this order.
ALLOCATIONS = {
    "get": ("how", "type"),
    "gethdr": ("how", "type"),
    "getcl": ("how", "type", "flags"),
    "getjcl": ("how", "type", "flags", "size"),
    "get2": ("size", "how", "type", "flags"),
}


def missing_operation(op: Op) -> str | None:
    """The name of the operation if it is not in the table, else None."""
    return None if op["op"] in OPS else op["op"]


def _allocation(name: str) -> Perform:
    def perform(s: Machine, op: Op) -> int:
        arguments = [op[argument] for argument in ALLOCATIONS[name]]
        s.m[op["m"]] = getattr(s.pool, name)(*arguments, **waits(op))
        return 1

    return perform


def _getm2(s: Machine, op: Op) -> int:
    m = s.m[op["m"]] if op.get("append") else None
    flags = M_PKTHDR if op["op"] == "getm" else op["flags"]
    s.m[op["m"]] = s.pool.getm2(op["len"], op["how"], op["type"], flags, m, **waits(op))
    return 1


def _get_noinit(s: Machine, op: Op) -> int:
    """`get2` with size 0 takes any flags."""
    s.m[op["m"]] = s.pool.get2(0, op["how"], op["type"], op["flags"], **waits(op))
    return 1


def _clget(s: Machine, op: Op) -> int:
    return int(bool(s.pool.clget(s.at(op), op["how"], **waits(op)).flags & M_EXT))


def _cljget(s: Machine, op: Op) -> int:
    if op["m"] is None:
        s.c[op["c"]] = s.pool.cljget(None, op["how"], op["size"], **waits(op))
    else:
        s.pool.cljget(s.at(op), op["how"], op["size"], **waits(op))
    return 1


def _cljset(s: Machine, op: Op) -> None:
    s.at(op).cljset(s.c.pop(op["c"]))


def _clfree(s: Machine, op: Op) -> None:
    s.c.pop(op["c"]).free()


def _ebuf(s: Machine, op: Op) -> None:
    s.buffer(op["b"], op["size"], op["seed"])


def _extadd(s: Machine, op: Op) -> None:
    """For EXT_EXTREF the harness begins a new reference count."""
    m = s.at(op)
    if op["type"] == EXT_EXTREF:
        s.b[op["b"]] = s.b[op["b"]]._replace(refs=RefCount())
        _extaddref(s, op)
        m.flags |= op["flags"]
    else:
        m.extadd(s.b[op["b"]].data, s.freed, op["b"], op["arg2"], op["flags"], op["type"])


def _extaddref(s: Machine, op: Op) -> None:
    b = s.b[op["b"]]
    s.at(op).extaddref(b.data, b.refs, s.freed, op["b"], op["arg2"])


def _nofree(s: Machine, op: Op) -> None:
    s.m[op["m"]] = s.pool.init(M_NOWAIT, op["type"], op["flags"] | M_NOFREE)
    if op["ext"] == EXT_RXRING:
        s.m[op["m"]].extadd(s.b[op["b"]].data, None, None, None, 0, EXT_RXRING)
    else:
        _extaddref(s, op)


def _dupcl(s: Machine, op: Op) -> None:
    s.m[op["n"]].dupcl(s.at(op))


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
            # The kernel returns EPERM and no value for what can't be written.
            return [1, 0] if NODES[name].write is None else [22, before]
    return [0, before]


def _reclaim(s: Machine, op: Op) -> None:
    getattr(s.zones, op["zone"]).reclaim(op["req"])


def _fail(s: Machine, op: Op) -> None:
    s.faults.fail(op["zone"], op["n"], op["cnt"])


def _dn(verb: str) -> Perform:
    def perform(s: Machine, op: Op) -> None:
        with s.without_faults() as reserve:
            getattr(reserve, verb)()

    return perform


def _dn_reinit(s: Machine, op: Op) -> None:
    """If an mbuf is refused, the kernel sets fewer aside; the library sets none aside and raises an error."""
    count = op["nmbuf"] - sum(s.faults.refuse("mbuf", M_NOWAIT) for _ in range(op["nmbuf"]))
    with s.without_faults() as reserve:
        reserve.reinit(count, op["nclust"], op["clsize"])


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
    "ebuf": _ebuf,
    "extadd": _extadd,
    "extaddref": _extaddref,
    "nofree": _nofree,
    "dupcl": _dupcl,
    "free": _free,
    "freem": _freem,
    "link": _link,
    "setlen": _setlen,
    "orflags": _orflags,
    "put": _put,
    "hdrset": _hdrset,
    "sysctl": _sysctl,
    "reclaim": _reclaim,
    "lowmem": lambda s, op: s.pool.vm.lowmem.invoke(VM_LOW_KMEM),
    "fail": _fail,
    "dn_reinit": _dn_reinit,
    "dn_start": _dn("start"),
    "dn_finish": _dn("finish"),
    "dn_drain": _dn("drain"),
    **ops_chain.OPS,
    **ops_tags.OPS,
    **ops_pages.OPS,
}
