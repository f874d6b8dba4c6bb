"""Internal objects can't be reached: through `__new__`, second initializations, subclasses, owners of views."""

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import mbuf
from cases.harness import Context, case, chain, refused
from mbuf import Epg, Ext, File, Freed, Mbuf, MbufError, MbufQ, Pool, RefCount, SndTag, SockBuf, StreamBuffer, Tag, Vm
from mbuf.packet.cluster import Cluster

CLEAR = (MbufError, TypeError, AttributeError)
CLASSES = (Mbuf, Cluster, Tag, SndTag, Epg, Ext, File, RefCount, MbufQ, SockBuf, StreamBuffer, Pool, Vm)


def poke(thing: Any) -> None:
    """Use every attribute of an object: none may crash."""
    for name in dir(type(thing)):
        if name in (
            "__class__",
            "__del__",
            "__dealloc__",
            "__new__",
            "__getattribute__",
            "__reduce__",
            "__reduce_ex__",
            "__subclasshook__",
            "__init_subclass__",
        ):
            continue
        try:
            found = getattr(thing, name)
        except Exception:
            continue
        if not callable(found) or name.startswith("__") and name not in DUNDER:
            continue
        for arguments in ((), (1,), (None,), (1, 1), (b"x",), (1, 1, 1), (thing,)):
            try:
                found(*arguments)
            except Exception:
                continue
            else:
                break
    for name in dir(type(thing)):
        if not name.startswith("__"):
            for value in (None, 0, 5, b"x", thing):
                try:
                    setattr(thing, name, value)
                except Exception:
                    continue


DUNDER = (
    "__len__",
    "__bytes__",
    "__iter__",
    "__bool__",
    "__repr__",
    "__eq__",
    "__enter__",
    "__exit__",
    "__hash__",
    "__contains__",
)


@case(each=CLASSES)
def made_by_new(context: Context, cls: type) -> None:
    """An object whose `__init__` never ran raises errors."""
    thing = refused(lambda: cls.__new__(cls), *CLEAR)
    if thing is None:
        poke(cls.__new__(cls))
    if hasattr(cls, "__new__"):
        refused(lambda: object.__new__(cls), *CLEAR)
    gc.collect()


@case
def init_of_a_live_mbuf(context: Context) -> None:
    m = context.pool.getcl().append(b"mine")
    n = m.copypacket()
    for arguments in ((), (1,), (None, None), (m,)):
        assert refused(lambda arguments=arguments: m.__init__(*arguments), *CLEAR)
    assert bytes(m) == bytes(n) == b"mine"
    assert m.refcnt == 2


def _live(context: Context) -> dict[str, Any]:
    """One of each public class."""
    pool = context.pool
    m = chain(pool, 100, 100)
    m.tag_prepend(pool.tag_alloc(1, 2, "value"))
    refs = RefCount()
    pages = pool.alloc_ext_plus_pages(5000)
    buffer, stream, q = SockBuf(), StreamBuffer(), MbufQ()
    buffer.append(pool.getcl().append(b"b"))
    stream.append(pool.getcl().append(b"s"))
    q.enqueue(pool.getcl())
    return {
        "mbuf": m,
        "tag": m.tags[0],
        "ext": m.ext,
        "pkthdr": m.pkthdr,
        "epg": pages.epg,
        "pages": pages,
        "cluster": pool.cljget(None),
        "refs": refs,
        "queue": q,
        "buffer": buffer,
        "stream": stream,
        "pool": Pool(Vm(16 << 20), worker=False),
        "vm": Vm(16 << 20),
        "probes": Pool(Vm(16 << 20), worker=False).probes,
    }


@case(
    each=("mbuf", "tag", "ext", "pkthdr", "epg", "cluster", "refs", "queue", "buffer", "stream", "pool", "vm", "probes")
)
def init_again(context: Context, kind: str) -> None:
    """A second `__init__` changes nothing, or initializes again; nothing is lost."""
    things = _live(context)
    thing = things.pop(kind)
    held = context.pool.out
    for arguments in ((), (16 << 20,), (thing,), (None,)):
        refused(lambda arguments=arguments: thing.__init__(*arguments), *CLEAR, ValueError)
    gc.collect()
    if kind in ("mbuf", "tag", "ext", "pkthdr", "epg", "cluster"):
        assert context.pool.out == held
    refused(lambda: repr(thing), *CLEAR)
    refused(lambda: len(thing), *CLEAR)
    if kind == "mbuf":
        assert len(thing) == 200
    if kind == "pool":
        refused(lambda: thing.getcl().free(), *CLEAR)
        refused(thing.close, *CLEAR)


@case
def pool_not_begun(context: Context) -> None:
    """A pool that is used before its own `__init__` has run."""

    class Early(Pool):
        def __init__(self) -> None:
            self.first = self.getcl()

    assert refused(Early, *CLEAR)


@case(
    each=(
        "zones",
        "tags",
        "pages",
        "probes",
        "sfbufs",
        "limits",
        "vm",
        "reclaim",
        "snd_tags",
        "_source",
        "_loose",
        "warnings",
        "cpus",
    )
)
def attribute_of_a_pool_replaced(context: Context, name: str) -> None:
    """Replacing or deleting attributes of a pool doesn't crash."""
    for value in (None, 5, object(), "delete"):
        pool = Pool(Vm(16 << 20), worker=False)
        keep = getattr(pool, name, None)
        m = pool.getcl()
        refused(
            lambda pool=pool, value=value: delattr(pool, name) if value == "delete" else setattr(pool, name, value),
            *CLEAR,
        )
        for call in (
            pool.get,
            pool.getcl,
            pool.getjcl,
            pool.drain,
            lambda pool=pool: pool.out,
            pool.stat,
            m.free,
            pool.close,
        ):
            refused(call, *CLEAR)
        del keep


@case
def subclass_of_pool(context: Context) -> None:
    """The core doesn't call methods that a subclass overrides."""

    class Mine(Pool):
        def get(self, *args: Any) -> Any:
            return 5

        gethdr = getcl = getjcl = _chain = _largest = plain = paired = asked = asked_cl = denied = get  # type: ignore[assignment]

    pool = Mine(Vm(16 << 20), worker=False)
    m = pool.getm2(5000)
    refused(lambda: pool.frombytes(b"x" * 5000).freem(), *CLEAR)
    refused(lambda: pool.wrap(b"x" * 5000).freem(), *CLEAR)
    refused(lambda: pool.alloc_ext_pgs().freem(), *CLEAR)
    refused(m.freem, *CLEAR)
    del m
    pool.close()


@case(each=("SockBuf", "StreamBuffer", "MbufQ", "Tag", "RefCount", "Vm", "Interface", "Epg", "Cluster", "Mbuf"))
def subclass_without_init(context: Context, name: str) -> None:
    cls: Any = Cluster if name == "Cluster" else getattr(mbuf, name)

    def make() -> None:
        mine = type("Mine", (cls,), {"__init__": lambda self: None, "__slots__": ()})
        poke(mine())

    refused(make, *CLEAR)
    gc.collect()


@case
def owner_of_a_view(context: Context) -> None:
    """`memoryview.obj` doesn't allow writing to read-only or shared bytes, or to freed memory."""
    pool = context.pool
    m = pool.getcl().append(b"public")
    n = m.copypacket()
    owner = m.data.obj
    for name in (
        "write",
        "fill",
        "copy",
        "zero",
        "overwrite",
        "release",
        "own",
        "pair",
        "invalidate",
        "carve",
        "use_export",
        "hold",
        "end_export",
        "unref",
        "free",
    ):
        for arguments in ((), (0, b"PWNED!", 0, 6), (0, 6), (owner,), (0, owner, 0, 6)):
            refused(lambda name=name, arguments=arguments: getattr(owner, name)(*arguments), Exception)
    assert bytes(n) == bytes(m) == b"public"
    refused(lambda: memoryview(owner).cast("B").__setitem__(0, 1), Exception)
    assert bytes(n) == b"public"
    assert memoryview(m).readonly
    m.free()
    n.free()
    context.refill()
    refused(lambda: memoryview(owner)[0:6], Exception)
    for name in ("write", "fill", "overwrite", "zero"):
        refused(lambda name=name: getattr(owner, name)(0, b"HACKED!", 0, 7), Exception)
    context.check_others()


@case
def referents_of_a_view(context: Context) -> None:
    """The same for the referents that `gc` shows, and for `obj` of a view of external memory."""
    m = context.pool.wrap(b"x" * 300)
    owner = m.data.obj
    poke(owner)
    m.freem()
    del m
    poke(owner)
    context.check_others()


@case(each=("copy", "deepcopy", "pickle"))
def copied_by_python(context: Context, how: str) -> None:
    """`copy` and `pickle` don't make a second handle."""
    things = _live(context)
    calls: dict[str, Callable[[Any], Any]] = {
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    }
    for kind, thing in things.items():
        try:
            twin = calls[how](thing)
        except Exception:
            continue
        refused(lambda twin=twin: repr(twin), Exception)
        if kind == "mbuf":
            assert bytes(twin) == bytes(thing)
        del twin
    gc.collect()
    context.check_others()


@case(each=("flags", "type", "len", "next", "nextpkt", "offset"))
def freed_stays_freed(context: Context, name: str) -> None:
    """Setting attributes of a freed mbuf doesn't make it usable."""
    m = context.pool.getcl().append(b"mine")
    m.free()
    for value in (0, 1, 2, -1, None, 0xFFFFFFFF, context.others[0]):
        refused(lambda value=value: setattr(m, name, value), *CLEAR, OverflowError, ValueError)
    refused(m.clrprotoflags, Freed)
    refused(lambda: m.demote(True, 0xFFFF), *CLEAR)
    context.refill()
    assert refused(lambda: bytes(m), Freed)
    context.check_others()


@case
def header_of_a_freed_mbuf(context: Context) -> None:
    """A header with a reference is not used for another packet."""
    m = context.pool.gethdr()
    header = m.pkthdr
    m.free()
    n = context.pool.gethdr()
    for name, value in (("len", 77), ("rcvif", "em9"), ("flowid", 5), ("csum_flags", 1)):
        refused(lambda name=name, value=value: setattr(header, name, value), Exception)
    assert (n.pkthdr.len, n.pkthdr.rcvif, n.pkthdr.flowid, n.pkthdr.csum_flags) == (0, None, 0, 0)


@case
def cluster_of_a_freed_owner(context: Context) -> None:
    cluster: Any = context.pool.cljget(None)
    view = cluster.data
    cluster.free()
    context.refill()
    view[:6] = b"HACKED"
    view.release()
    context.check_others()
    assert refused(lambda: cluster.data, Freed)
    assert refused(cluster.free, Freed)
    refused(lambda: cluster.__init__(), *CLEAR)
    refused(lambda: cluster.__del__(), *CLEAR)
    live: Any = context.pool.cljget(None)
    refused(lambda: live.__init__(), *CLEAR)
    assert live.size == 4096
    live.free()
