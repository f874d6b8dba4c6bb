"""The operations on tags, send tags and queues."""

from typing import Any

from conformance.chain_state import pat
from conformance.machine import Machine, Op, Perform
from conformance.trace_interfaces import DriverError, SndTagRequest
from mbuf import NoBufs, NotSupported
from mbuf.packet.queue import MbufQ
from mbuf.packet.tag import Tag

#: Error numbers of FreeBSD.
EOPNOTSUPP, ENOBUFS = 45, 55


def _tag(s: Machine, op: Op, name: str) -> Tag | None:
    """The tag of a chain that an operation names by its index, None for -1."""
    return None if op[name] < 0 else s.m[op["m"]].tags[op[name]]


def _index(s: Machine, op: Op, tag: Tag | None) -> int:
    return -1 if tag is None else s.m[op["m"]].tags.index(tag)


def _tag_alloc(s: Machine, op: Op) -> int:
    """The length of a tag is that of its value, so it can't be negative; the kernel returns NULL then."""
    if op["len"] < 0:
        return 0
    s.t[op["t"]] = s.pool.tag_alloc(op["cookie"], op["type"], pat(op["seed"], op["len"]), op["how"])
    return 1


def _tag_get(s: Machine, op: Op) -> int:
    if op["len"] < 0:
        return 0
    s.t[op["t"]] = s.pool.tag_get(op["type"], pat(op["seed"], op["len"]), op["how"])
    return 1


def _tag_prepend(s: Machine, op: Op) -> None:
    s.m[op["m"]].tag_prepend(s.t[op["t"]])
    del s.t[op["t"]]


def _tag_unlink(s: Machine, op: Op) -> None:
    tag = s.m[op["m"]].tags[op["i"]]
    s.m[op["m"]].tag_unlink(tag)
    s.t[op["t"]] = tag


def _tag_free(s: Machine, op: Op) -> None:
    s.t.pop(op["t"]).free()


def _tag_locate(s: Machine, op: Op) -> int:
    return _index(s, op, s.m[op["m"]].tag_locate(op["cookie"], op["type"], _tag(s, op, "start")))


def _tag_find(s: Machine, op: Op) -> int:
    return _index(s, op, s.m[op["m"]].tag_find(op["type"], _tag(s, op, "start")))


def _tag_delete(s: Machine, op: Op) -> None:
    s.m[op["m"]].tag_delete(s.m[op["m"]].tags[op["i"]])


def _tag_delete_chain(s: Machine, op: Op) -> None:
    s.m[op["m"]].tag_delete_chain(_tag(s, op, "i"))


def _tag_copy(s: Machine, op: Op) -> int:
    s.t[op["t"]] = s.m[op["m"]].tags[op["i"]].copy(op["how"])
    return 1


def _tag_copy_chain(s: Machine, op: Op) -> int:
    s.m[op["to"]].tag_copy_chain(s.m[op["from"]], op["how"])
    return 1


def _st_alloc(s: Machine, op: Op) -> list[int]:
    try:
        tag: Any = s.pool.snd_tag_alloc(s.interfaces[op["ifp"]], SndTagRequest(op["type"], op["fail"]))
    except NotSupported:
        return [EOPNOTSUPP]
    except DriverError as error:
        return [error.errno]
    s.s[op["s"]] = tag
    return [0, tag.number, tag.refs, tag.type]


def _st_ref(s: Machine, op: Op) -> int:
    s.s[op["dst"]] = s.s[op["s"]].ref()
    return s.s[op["dst"]].refs


def _st_rele(s: Machine, op: Op) -> None:
    s.s.pop(op["s"]).rele()


def _st_refs(s: Machine, op: Op) -> int:
    return s.s[op["s"]].refs


def _st_attach(s: Machine, op: Op) -> None:
    s.m[op["m"]].pkthdr.snd_tag = s.s[op["s"]]
    del s.s[op["s"]]


def _mq_init(s: Machine, op: Op) -> None:
    s.q[op["q"]] = MbufQ(op["max"])


def _mq_enq(s: Machine, op: Op) -> int:
    try:
        s.q[op["q"]].enqueue(s.m[op["m"]])
    except NoBufs:
        return ENOBUFS
    del s.m[op["m"]]
    return 0


def _mq_prepend(s: Machine, op: Op) -> None:
    s.q[op["q"]].prepend(s.m.pop(op["m"]))


def _mq_deq(s: Machine, op: Op) -> int:
    m = s.q[op["q"]].dequeue()
    if m is None:
        return 0
    s.m[op["m"]] = m
    return 1


def _mq_drain(s: Machine, op: Op) -> None:
    s.q[op["q"]].drain()


def _mq_concat(s: Machine, op: Op) -> None:
    s.q[op["q"]].concat(s.q[op["src"]])


def _mq_len(s: Machine, op: Op) -> list[int]:
    q = s.q[op["q"]]
    return [len(q), int(q.full)]


OPS: dict[str, Perform] = {
    "tag_alloc": _tag_alloc,
    "tag_get": _tag_get,
    "tag_prepend": _tag_prepend,
    "tag_unlink": _tag_unlink,
    "tag_free": _tag_free,
    "tag_locate": _tag_locate,
    "tag_find": _tag_find,
    "tag_delete": _tag_delete,
    "tag_delete_chain": _tag_delete_chain,
    "tag_copy": _tag_copy,
    "tag_copy_chain": _tag_copy_chain,
    "st_alloc": _st_alloc,
    "st_ref": _st_ref,
    "st_rele": _st_rele,
    "st_refs": _st_refs,
    "st_attach": _st_attach,
    "mq_init": _mq_init,
    "mq_enq": _mq_enq,
    "mq_prepend": _mq_prepend,
    "mq_deq": _mq_deq,
    "mq_drain": _mq_drain,
    "mq_concat": _mq_concat,
    "mq_len": _mq_len,
}
