"""Valid arguments for every method, by the names of its parameters."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hostile.members import Member, Param
from mbuf import EXT_NET_DRV, M_NOWAIT, M_WAITOK

if TYPE_CHECKING:
    from hostile.scenario import Scenario

Make = Callable[["Scenario"], Any]

#: By parameter, or by `role.member.parameter` for a different value.
ARGUMENTS: dict[str, Make] = {
    "align": lambda s: 150,
    "arg1": lambda s: None,
    "arg2": lambda s: None,
    "at_start": lambda s: False,
    "all": lambda s: True,
    "buffer": lambda s: bytearray(200),
    "cluster": lambda s: s.cl,
    "clsize": lambda s: 2048,
    "cookie": lambda s: 7,
    "copy": lambda s: None,
    "count": lambda s: 2,
    "data": lambda s: b"d" * 100,
    "cycles": lambda s: False,
    "dstoff": lambda s: 10,
    "end": lambda s: 250,
    "file": lambda s: s.path,
    "flags": lambda s: 0,
    "fmt": lambda s: "!H",
    "fn": lambda s: lambda view: 0,
    "folder": lambda s: "/none",
    "free": lambda s: None,
    "from_": lambda s: s.n,
    "hlen": lambda s: 20,
    "how": lambda s: M_NOWAIT,
    "ifp": lambda s: s.ifp,
    "interval": lambda s: None,
    "len": lambda s: 50,
    "length": lambda s: 50,
    "loc": lambda s: 50,
    "m": lambda s: s.n,
    "maxfrags": lambda s: 1,
    "maxlen": lambda s: 50,
    "maxseg": lambda s: 4096,
    "mlen": lambda s: 4096,
    "most": lambda s: 100,
    "name": lambda s: "x",
    "nclust": lambda s: 2,
    "nmbuf": lambda s: 2,
    "number": lambda s: 0,
    "obj": lambda s: bytearray(100),
    "off": lambda s: 10,
    "offset": lambda s: 10,
    "on_free": lambda s: None,
    "other": lambda s: s.other_queue,
    "packets": lambda s: s.pool.getcl_bulk(5),
    "page": lambda s: 0,
    "params": lambda s: None,
    "pattern": lambda s: b"xyz",
    "prefix": lambda s: b"d" * 100,
    "priority": lambda s: 10,
    "rcvif": lambda s: "em3",
    "refs": lambda s: s.rc,
    "runs": lambda s: None,
    "sanitize": lambda s: False,
    "sep": lambda s: b"\n",
    "check_full": lambda s: True,
    "size": lambda s: 100,
    "skip": lambda s: 20,
    "start": lambda s: 1,
    "tag": lambda s: s.tag,
    "timeout": lambda s: 0,
    "type": lambda s: 1,
    "value": lambda s: None,
    "values": lambda s: 7,
    "why": lambda s: 1,
    "request": lambda s: 1,
    # Parameters that need a different value.
    "m.addpages.n": lambda s: 1,
    "m.align.count": lambda s: 8,
    "m.cat.n": lambda s: s.n,
    "m.catpkt.n": lambda s: s.n,
    "m.demote.all": lambda s: True,
    "m.extadd.type": lambda s: EXT_NET_DRV,
    "m.fill.count": lambda s: 2,
    "pool.available.kind": lambda s: "clust",
    "m.grow.count": lambda s: 4,
    "m.pullup.len": lambda s: 150,
    "m.copyup.len": lambda s: 150,
    "m.segment.size": lambda s: 100,
    "m.print.file": lambda s: io.StringIO(),
    "m.tag_prepend.tag": lambda s: s.new_tag,
    "m.tag_locate.cookie": lambda s: 7,
    "m.pulldown.len": lambda s: 250,
    "m.adj.len": lambda s: 150,
    "m.append.data": lambda s: b"d" * 400,
    "m.copyback.off": lambda s: 250,
    "m.copyback.data": lambda s: b"d" * 300,
    "m.copydata.len": lambda s: 200,
    "m.split.len": lambda s: 150,
    "m.prepend.len": lambda s: 190,
    "m.len=": lambda s: 5,
    "m.flags=": lambda s: 8,
    "m.control=": lambda s: None,
    "m.peer=": lambda s: ("192.0.2.1", 53),
    "m.type=": lambda s: 1,
    "m.next=": lambda s: s.n,
    "m.nextpkt=": lambda s: s.n,
    "m.insert.m": lambda s: s.n,
    "m.insert.chain": lambda s: s.n,
    "m.insert.n": lambda s: s.n,
    "m.remove.n": lambda s: 20,
    "m.unlink.n": lambda s: s.m.next,
    "m.cmp.other": lambda s: b"d" * 100,
    "m.equals.other": lambda s: s.n,
    "hdr.rcvif=": lambda s: "em4",
    "hdr.snd_tag=": lambda s: s.snd,
    "sb.take.n": lambda s: 150,
    "sb.drop.n": lambda s: 150,
    "sb.peek.n": lambda s: 150,
    "sb.views.count": lambda s: 5,
    "sb.views.size": lambda s: 500,
    "st.take.n": lambda s: 150,
    "st.drop.n": lambda s: 150,
    "st.peek.n": lambda s: 150,
    "st.views.count": lambda s: 5,
    "st.views.size": lambda s: 500,
    "pool.get2.size": lambda s: 3000,
    "pool.getjcl.size": lambda s: 4096,
    "pool.cljget.size": lambda s: 2048,
    "pool.cljget.m": lambda s: s.bare,
    "pool.clget.m": lambda s: s.bare,
    "pool.getjcl_bulk.size": lambda s: 4096,
    "pool.getcl_bulk.n": lambda s: 5,
    "pool.getjcl_bulk.n": lambda s: 3,
    "pool.get_row.n": lambda s: 5,
    "pool.getm2.len": lambda s: 6000,
    "pool.agetm2.len": lambda s: 6000,
    "pool.agetjcl.size": lambda s: 4096,
    "pool.frombytes.data": lambda s: b"d" * 5000,
    "pool.devget.data": lambda s: b"d" * 5000,
    "pool.alloc_ext_plus_pages.len": lambda s: 9000,
    "pool.freem.m": lambda s: s.m,
    "pool.init.flags": lambda s: 0,
    "pool.mb_use_ext_pgs=": lambda s: False,
    "probes.attach.name": lambda s: "m-free",
    "probes.detach.name": lambda s: "m-free",
    "probes.attached.name": lambda s: "m-free",
    "probes.attach.fn": lambda s: lambda *_: None,
    "drains.register.fn": lambda s: lambda: None,
    "file.getm.off": lambda s: 100,
    "file.getm.len": lambda s: 5000,
}

#: The arguments of a call that waits, but not long.
WAITOK = {"how": M_WAITOK, "timeout": 0}

#: The value for a field, unless the table has another.
FIELD = 5


def key(member: Member, param: Param) -> str:
    """The key of a parameter in the table."""
    if member.kind == "set":
        return f"{member}"
    return f"{member.role}.{member.name}.{param.name}"


def argument_maker(member: Member, param: Param) -> Make | None:
    """The function that makes an argument; None if the table has none."""
    found = ARGUMENTS.get(key(member, param))
    if param.name == "timeout" and "how" in [p.name for p in member.params]:
        # M_NOWAIT has none.
        return lambda s: None
    if found is None and member.kind == "set":
        return lambda s: FIELD
    if found is None and param.name == "n":
        return (lambda s: s.n) if "Mbuf" in param.annotation or "Shape" in param.annotation else (lambda s: 2)
    return found or ARGUMENTS.get(param.name)


def missing_arguments(all_members: list[Member]) -> list[str]:
    """Parameters without an argument."""
    return [key(m, p) for m in all_members for p in m.params if argument_maker(m, p) is None]
