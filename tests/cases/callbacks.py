"""Free routines, finalizers, weak references, probes, drains, loggers and warnings that free and relink."""

import contextlib
import gc
import logging
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from cases.harness import Context, case, chain, refused
from mbuf import EXT_NET_DRV, PROBES, Mbuf, MbufError, MbufQ, NoBufs, Pool, SockBuf, Vm, compiled


class Final:
    """Calls a function in its finalizer."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __del__(self) -> None:
        self.act()


class ExternalMemory(bytearray):
    """External memory that calls a function in its finalizer."""

    act: Callable[[], object] = staticmethod(lambda: None)

    def __del__(self) -> None:
        self.act()


@case
def cat_frees_the_target(context: Context) -> None:
    """`cat` of external memory, whose free routine frees the mbuf that it is appended to."""
    pool = context.pool
    a = pool.getcl()

    def on_free(obj: object) -> None:
        a.free()
        context.refill()

    b = pool.wrap(bytearray(b"b" * 10), on_free)
    b.next = pool.get().append(b"HACKED")
    refused(lambda: a.cat(b), MbufError)
    context.check_others()


#: Verbs that end a tag, or the storage, of the packet that they are called on, or of their argument.
ENDING: dict[str, Callable[[Pool, Mbuf], object]] = {
    "append_to_sockbuf": lambda pool, m: SockBuf().append(m),
    "cat": lambda pool, m: pool.getcl().cat(m),
    "catpkt": lambda pool, m: pool.getcl().catpkt(m),
    "demote": lambda pool, m: m.demote(True),
    "demote_pkthdr": lambda pool, m: m.demote_pkthdr(),
    "dup_pkthdr": lambda pool, m: m.dup_pkthdr(pool.gethdr()),
    "free": lambda pool, m: m.free(),
    "freem": lambda pool, m: m.freem(),
    "free_bulk": lambda pool, m: pool.free_bulk([m]),
    "move_pkthdr": lambda pool, m: m.move_pkthdr(pool.gethdr()),
    "sanity": lambda pool, m: m.sanity(True),
    "tag_copy_chain": lambda pool, m: m.tag_copy_chain(pool.gethdr()),
    "tag_delete": lambda pool, m: m.tag_delete(m.tags[0]),
    "tag_delete_chain": lambda pool, m: m.tag_delete_chain(),
    "tag_delete_nonpersistent": lambda pool, m: m.tag_delete_nonpersistent(),
    "pullup": lambda pool, m: m.pullup(150),
    "defrag": lambda pool, m: m.defrag(),
    "collapse": lambda pool, m: m.collapse(1),
    "unshare": lambda pool, m: m.unshare(),
    "adj": lambda pool, m: m.adj(150),
    "segment": lambda pool, m: m.segment(50),
}

#: What the finalizer does with the packet.
ACTS: dict[str, Callable[[Context, Mbuf], object]] = {
    "freem": lambda context, m: m.freem(),
    "free": lambda context, m: m.free(),
    "cut": lambda context, m: setattr(m, "next", None),
    "copy": lambda context, m: context.kept.append(m.copypacket()),  # type: ignore[attr-defined]
    "append": lambda context, m: m.append(b"HACKED" * 100),
    "prepend": lambda context, m: m.prepend(200),
    "close": lambda context, m: context.pool.drain(),
}

PAIRS = [(verb, act) for verb in ENDING for act in ACTS]


def _ending(context: Context, m: Mbuf, act: str) -> Callable[[], None]:
    """Calls it once, and allocates the freed memory again."""
    done: list[int] = []
    context.kept = []  # type: ignore[attr-defined]

    def end() -> None:
        if not done:
            done.append(1)
            refused(lambda: ACTS[act](context, m), MbufError)
            context.refill(50)

    return end


@case(each=PAIRS, names=[f"{verb}-{act}" for verb, act in PAIRS])
def value_of_a_tag(context: Context, pair: tuple[str, str]) -> None:
    verb, act = pair
    m = chain(context.pool, 100, 100, 100)
    m.tag_prepend(context.pool.tag_alloc(1, 2, Final(_ending(context, m, act))))
    refused(lambda: ENDING[verb](context.pool, m), MbufError)
    context.check_others()
    seen = refused(lambda: bytes(m), MbufError)
    assert seen is not None or b"another" not in bytes(m)
    # A function that was never called still refers to the packet.
    refused(m.freem, MbufError)
    del context.kept  # type: ignore[attr-defined]


@case(each=PAIRS, names=[f"{verb}-{act}" for verb, act in PAIRS])
def routine_of_lent_memory(context: Context, pair: tuple[str, str]) -> None:
    verb, act = pair
    m = context.pool.wrap(bytearray(b"m" * 100))
    m.next = context.pool.get().append(b"n" * 100)
    end = _ending(context, m, act)
    m.next.next = context.pool.get().extadd(bytearray(b"o" * 100), lambda x: end(), None, None, 0, EXT_NET_DRV)
    m.next.next.len = 100
    m.fixhdr()
    m.tag_prepend(context.pool.tag_alloc(1, 2))
    refused(lambda: ENDING[verb](context.pool, m), MbufError)
    context.check_others()
    seen = refused(lambda: bytes(m), MbufError)
    assert seen is not None or b"another" not in bytes(m)
    # A function that was never called still refers to the packet.
    refused(m.freem, MbufError)
    del context.kept  # type: ignore[attr-defined]


@case(each=("rcvif", "obj", "arg1", "arg2", "weakref", "free"))
def end_frees_the_neighbour(context: Context, kind: str) -> None:
    """A finalizer that runs while a chain is freed frees the next mbuf and the rest."""
    pool = context.pool
    a, b = pool.gethdr(), chain(pool, 100, 100)

    def act() -> None:
        refused(b.freem, MbufError)
        context.refill()

    if kind == "rcvif":
        a.pkthdr.rcvif = Final(act)
    else:
        lent = ExternalMemory(200)
        arg = Final(lambda: None)
        if kind == "obj":
            lent.act = act
        elif kind in ("arg1", "arg2"):
            arg.act = act
        a.extadd(
            lent,
            (lambda x: act()) if kind == "free" else None,
            arg if kind == "arg1" else None,
            arg if kind == "arg2" else None,
            0,
            EXT_NET_DRV,
        )
        context.ref = weakref.ref(lent, lambda r: act()) if kind == "weakref" else None  # type: ignore[attr-defined]
        del lent, arg
    a.next = b
    refused(a.freem, MbufError)
    context.check_others()


@case
def sanity_frees_the_next_packet(context: Context) -> None:
    pool = context.pool
    a, b, c = pool.gethdr(), pool.gethdr(), pool.gethdr()
    b.tag_prepend(pool.tag_alloc(1, 2))
    c.tag_prepend(pool.tag_alloc(1, 2, Final(lambda: refused(b.free, MbufError))))
    refused(lambda: setattr(a, "next", b), MbufError)
    refused(lambda: setattr(b, "nextpkt", c), MbufError)
    c = None  # type: ignore[assignment]
    refused(lambda: a.sanity(True), MbufError)
    context.refill()


@case
def segment_and_an_old_interface(context: Context) -> None:
    """The finalizer of a header's old interface appends to the last mbuf while lengths are summed."""
    pool = context.pool
    head = pool.getcl().append(b"h" * 100)
    m2 = pool.getcl().append(b"m" * 200)
    m3 = pool.getcl(flags=0)
    m3.len = 100
    h = m2.pkthdr
    m2.demote_pkthdr()
    h.rcvif = Final(lambda: refused(lambda: setattr(m3, "len", 2048), MbufError))
    del h
    head.next = m2
    m2.next = m3
    head.fixhdr()
    refused(lambda: head.segment(100), MbufError)
    context.check_others()


#: Verbs that give an mbuf a packet header again.
HEADED: dict[str, Callable[[Pool, Mbuf, Mbuf], object]] = {
    "segment": lambda pool, head, m: head.segment(100),
    "move_pkthdr": lambda pool, head, m: m.move_pkthdr(head),
    "dup_pkthdr": lambda pool, head, m: m.dup_pkthdr(head),
    "move_away": lambda pool, head, m: pool.gethdr().move_pkthdr(m.move_pkthdr(head)),
    "free": lambda pool, head, m: (m.free(), pool.free_bulk(pool.getcl_bulk(400))),
}


@case(each=HEADED.values(), names=HEADED)
def things_in_a_header_taken_off(context: Context, verb: Callable[[Pool, Mbuf, Mbuf], object]) -> None:
    """An object in a header that its mbuf has lost is dropped with the header, and never in a commit."""
    pool, errors = context.pool, []
    head = pool.getcl().append(b"h" * 100)
    m = pool.getcl().append(b"m" * 250)
    header = m.pkthdr
    m.demote_pkthdr()
    header.rcvif = Final(lambda: errors.append(refused(lambda: pool.getcl().free(), MbufError)))
    del header
    head.next = m
    head.fixhdr()
    with contextlib.suppress(MbufError):
        verb(pool, head, m)
    del head, m
    assert errors == ([None] if compiled() else errors)


@case(each=sorted(PROBES))
def listener_frees(context: Context, probe: str) -> None:
    """A listener frees each mbuf that it is called with."""
    pool = context.pool
    logging.disable(logging.CRITICAL)

    def listen(*args: Any) -> None:
        for thing in args:
            if isinstance(thing, Mbuf):
                refused(thing.freem, MbufError)
        context.refill(3)

    pool.probes.attach(probe, listen)
    for call in (
        pool.get,
        pool.gethdr,
        pool.getcl,
        pool.getjcl,
        lambda: pool.clget(pool.get()),
        lambda: pool.cljget(pool.get()),
        lambda: pool.cljget(None).free(),  # type: ignore[union-attr]
        lambda: pool.get().cljset(pool.cljget(None)),  # type: ignore[arg-type]
        lambda: pool.getcl().free(),
        lambda: chain(pool, 100, 100).freem(),
        lambda: pool.getm2(10000).freem(),
        lambda: pool.free_bulk([pool.getcl(), pool.get()]),
        lambda: pool.getcl().append(b"x").prepend(2000).freem(),
    ):
        refused(call, MbufError)
    pool.probes.detach(probe, listen)
    context.check_others()


def tight(context: Context) -> Pool:
    """A small pool beside the context's own."""
    return Pool(Vm(16 << 20), {"kern.ipc.nmbclusters": 20, "kern.ipc.nmbufs": 60}, worker=False, strict=False)


@case(each=("logger", "drain", "shortage"))
def limit_reached(context: Context, kind: str) -> None:
    """The callback at a limit frees and allocates."""
    pool = tight(context)
    held = [pool.getcl() for _ in range(20)]
    m = pool.gethdr().append(b"m")

    def act(*_: object) -> None:
        refused(m.freem, MbufError)
        while held:
            held.pop().free()
        pool.drain()

    if kind == "logger":
        handler = logging.Handler()
        handler.emit = act  # type: ignore[method-assign,assignment]
        logging.getLogger("mbuf").addHandler(handler)
    elif kind == "drain":
        pool.drains.register(act)
    else:
        pool.vm.shortage.register(act)
    for call in (
        lambda: pool.clget(m),
        lambda: m.prepend(2000),
        lambda: pool.getcl_bulk(30),
        pool.reclaim.run,
        pool.getcl,
    ):
        refused(call, NoBufs, MbufError)
    held.clear()
    m = None  # type: ignore[assignment]
    gc.collect()
    assert (pool.out, pool.close(), pool.vm.used) == (0, 0, 0)


@case
def warning_made_an_error(context: Context) -> None:
    """A dropped mbuf of a debug pool causes a warning; as an error it loses nothing."""
    pool = Pool(Vm(16 << 20), debug=True, worker=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(100):
            pool.getcl()
        m = chain(pool, 100, 100, 100)
        m.tag_prepend(pool.tag_alloc(1, 2))
        m = None  # type: ignore[assignment]
    gc.collect()
    assert (pool.out, pool.close(), pool.vm.used) == (0, 0, 0)


@case
def warning_that_allocates(context: Context) -> None:
    pool = Pool(Vm(16 << 20), debug=True, worker=False)
    kept: list[Mbuf] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *_, **__: kept.append(pool.getcl().append(b"x"))
        for _ in range(100):
            pool.getcl()
        assert [bytes(m) for m in kept] == [b"x"] * 100
        pool.free_bulk(kept)
    assert (pool.out, pool.close(), pool.vm.used) == (0, 0, 0)


@case
def routine_that_raises(context: Context) -> None:
    """After an error of a free routine the rest of the chain is freed."""
    pool = context.pool

    for error in (ValueError, KeyboardInterrupt, SystemExit):

        def fail(obj: object, error: type[BaseException] = error) -> None:
            raise error("of the routine")

        m = pool.wrap(bytearray(100), fail)
        m.next = pool.wrap(bytearray(100), fail).demote_pkthdr()
        m.next.next = pool.getcl(flags=0)
        found = refused(m.freem, KeyboardInterrupt, SystemExit)
        assert (found is None) == (error is ValueError)


@case
def queue_drain_and_a_routine_that_enqueues(context: Context) -> None:
    pool, q = context.pool, MbufQ()
    left = [100]

    def again(obj: object) -> None:
        if left[0]:
            left[0] -= 1
            q.enqueue(pool.wrap(bytearray(10), again))

    q.enqueue(pool.wrap(bytearray(10), again))
    q.drain()
    while q:
        q.drain()
    assert left == [0]


@case(each=("pause", "resume"))
def mark_that_clears(context: Context, which: str) -> None:
    """`pause` or `resume` of a buffer clears the buffer."""
    pool = context.pool

    def act() -> None:
        buffer.clear()
        context.refill(20)

    buffer = SockBuf(4000, 1000, None, act if which == "pause" else None, act if which == "resume" else None)
    for _ in range(5):
        buffer.append(pool.getcl().append(b"x" * 1000))
        refused(lambda: buffer.append(chain(pool, 1000, 1000, 1000)), MbufError)
        refused(lambda: buffer.take(1500), MbufError)
        refused(lambda: buffer.drop(1500), MbufError)
    buffer.clear()
    assert (len(buffer), buffer.mcnt) == (0, 0)


@case
def release_of_lent_memory(context: Context) -> None:
    """`__release_buffer__` frees the mbuf that is being changed."""
    pool = context.pool
    a = pool.getcl()

    class Buffer:
        def __buffer__(self, flags: int) -> memoryview:
            return memoryview(bytearray(b"HACKED" * 2))

        def __release_buffer__(self, view: memoryview) -> None:
            refused(a.free, MbufError)
            context.refill()

    b = pool.wrap(Buffer())
    b.next = pool.get().append(b"HACKED")
    refused(lambda: a.cat(b), MbufError)
    context.check_others()


@case
def copy_of_devget_frees(context: Context) -> None:
    """The copy routine of devget drops, closes and allocates."""
    pool = context.pool

    def copy(source: memoryview, target: memoryview) -> None:
        context.refill(10)
        pool.drain()
        target[:] = source

    m = pool.devget(bytes(range(256)) * 40, 0, None, copy)
    assert bytes(m) == bytes(range(256)) * 40
    m.freem()


@case(each=("freem", "cut", "adj", "defrag", "prepend"))
def apply_changes_the_chain(context: Context, act: str) -> None:
    m = chain(context.pool, 100, 100, 100)
    calls: dict[str, Callable[[], object]] = {
        "freem": m.freem,
        "cut": lambda: setattr(m, "next", None),
        "adj": lambda: m.adj(150),
        "defrag": m.defrag,
        "prepend": lambda: m.prepend(200),
    }

    def fn(view: memoryview) -> int:
        refused(calls[act], MbufError)
        context.refill(20)
        assert b"another" not in bytes(view)
        return 0

    refused(lambda: m.apply(0, 300, fn), MbufError)
    context.check_others()


@case
def iteration_changes_the_chain(context: Context) -> None:
    m = chain(context.pool, 100, 100, 100)
    try:
        for view in m:
            assert b"another" not in bytes(view)
            del view
            m.freem()
            context.refill()
    except MbufError:
        pass
    context.check_others()


@case
def view_that_is_released_late(context: Context) -> None:
    """A view keeps the bytes after any change of the packet."""
    m = context.pool.getcl().append(b"seen" * 10)
    view = m.data
    m.free()
    context.refill()
    assert bytes(view) == b"seen" * 10
    view.release()


@case
def finalizer_that_brings_back(context: Context) -> None:
    """A finalizer that keeps a reference to a dropped mbuf or tag gets a freed or an intact one."""
    pool, kept = context.pool, []

    class Value:
        def __del__(self) -> None:
            kept.append(self)

    m = pool.gethdr()
    m.tag_prepend(pool.tag_alloc(1, 2, Value()))
    m.pkthdr.rcvif = Value()
    m.next = pool.wrap(bytearray(10)).demote_pkthdr()
    m = None  # type: ignore[assignment]
    context.refill()
    assert len(kept) == 2
    assert pool.out == len(context.others)
