"""Cycles, shared tails, packets in two queues: a linked mbuf can't be linked again, and no call runs without end."""

from collections.abc import Callable

from cases.harness import Context, case, chain, refused
from mbuf import Inval, Mbuf, MbufError, MbufQ, NoBufs, Pool, SockBuf


def three(pool: Pool) -> tuple[Mbuf, Mbuf, Mbuf]:
    """A chain of three full mbufs."""
    a, b, c = (pool.getcl(flags=0).append(b"x" * 2048) for _ in range(3))
    return a, b, c


def finite(m: Mbuf, most: int = 100) -> int:
    """Assert that a chain ends; returns the number of its mbufs."""
    count = 0
    n: Mbuf | None = m
    while n is not None:
        count += 1
        assert count < most
        n = n.next
    return count


@case
def tail_of_two(context: Context) -> None:
    """Two chains can't share a tail, so joining them can't make a cycle."""
    a, b, c = three(context.pool)
    a.next = c
    refused(lambda: setattr(b, "next", c), Inval)
    refused(lambda: a.cat(b), Inval)
    finite(a)
    assert len(a) in (4096, 6144)
    b = c = None  # type: ignore[assignment]
    a.freem()


@case(each=("self", "two", "three"))
def circle_by_next(context: Context, kind: str) -> None:
    a, b, c = three(context.pool)
    if kind == "self":
        assert refused(lambda: setattr(a, "next", a), Inval)
    elif kind == "two":
        a.next = b
        assert refused(lambda: setattr(b, "next", a), Inval)
    else:
        a.next = b
        b.next = c
        assert refused(lambda: setattr(c, "next", a), Inval)
        assert refused(lambda: setattr(c, "next", b), Inval)
    finite(a)


@case(each=("self", "two", "three"))
def circle_by_nextpkt(context: Context, kind: str) -> None:
    a, b, c = three(context.pool)
    if kind == "self":
        assert refused(lambda: setattr(a, "nextpkt", a), Inval)
    elif kind == "two":
        a.nextpkt = b
        assert refused(lambda: setattr(b, "nextpkt", a), Inval)
    else:
        a.nextpkt = b
        b.nextpkt = c
        assert refused(lambda: setattr(c, "nextpkt", a), Inval)


@case
def circle_of_both_links(context: Context) -> None:
    a, b, c = three(context.pool)
    a.next = b
    b.nextpkt = c
    assert refused(lambda: setattr(c, "next", a), Inval)
    assert refused(lambda: setattr(c, "next", b), Inval)


@case(each=("cat", "catpkt", "append"))
def join_with_itself(context: Context, verb: str) -> None:
    m = chain(context.pool, 2048, 2048)
    tail = m.next
    assert tail is not None
    if verb == "append":
        buffer = SockBuf()
        buffer.append(m)
        assert refused(lambda: buffer.append(m), Inval)
        assert refused(lambda: buffer.append(tail), Inval)
        assert (buffer.mcnt, len(buffer)) == (2, 4096)
        buffer.clear()
        return
    assert refused(lambda: getattr(m, verb)(m), Inval)
    assert refused(lambda: getattr(m, verb)(tail), Inval)
    assert refused(lambda: getattr(tail, verb)(m), Inval)
    assert finite(m) == 2


@case
def packet_in_two_queues(context: Context) -> None:
    pool = context.pool
    p, q = MbufQ(), MbufQ()
    a, b = pool.getcl(), pool.getcl()
    p.enqueue(a)
    assert refused(lambda: q.enqueue(a), Inval)
    p.enqueue(b)
    assert refused(lambda: q.prepend(a), Inval)
    assert refused(lambda: q.enqueue(b), Inval)
    p.drain()
    q.drain()
    assert (p.count, q.count) == (0, 0)


@case
def packet_in_two_buffers(context: Context) -> None:
    a, b = SockBuf(), SockBuf()
    m = chain(context.pool, 100, 2000)
    a.append(m)
    assert refused(lambda: b.append(m), Inval)
    a.clear()
    b.clear()
    assert (len(a), len(b), a.mcnt, b.mcnt) == (0, 0, 0, 0)


@case
def queued_and_linked(context: Context) -> None:
    """A queued packet can't be linked elsewhere, and only the queue changes its links."""
    pool, q = context.pool, MbufQ()
    ms = [pool.getcl() for _ in range(3)]
    for m in ms:
        q.enqueue(m)
    head = pool.getcl()
    assert refused(lambda: setattr(head, "next", ms[1]), Inval)
    assert refused(lambda: setattr(head, "nextpkt", ms[1]), Inval)
    refused(lambda: setattr(ms[2], "nextpkt", ms[0]), Inval)
    assert len(list(q)) == 3
    m = None  # type: ignore[assignment]
    ms.clear()
    q.drain()


@case
def freed_has_no_links(context: Context) -> None:
    a, b, _ = three(context.pool)
    a.free()
    for call in (lambda: a.next, lambda: a.nextpkt, lambda: setattr(a, "next", b), lambda: setattr(b, "next", a)):
        assert isinstance(refused(call, MbufError), MbufError)
    assert refused(lambda: setattr(b, "nextpkt", a), MbufError)


@case
def next_is_what_free_returns(context: Context) -> None:
    """The kernel's idiom for taking an mbuf out of a chain."""
    a, b, c = three(context.pool)
    a.next = b
    b.next = c
    a.next = b.free()
    assert a.next is c
    assert finite(a) == 2


@case(each=("copyback", "append", "prepend", "split", "copyup", "makespace", "pullup", "unshare", "collapse", "defrag"))
def failing_changes_nothing(context: Context, verb: str) -> None:
    """A verb without memory doesn't change the chain."""
    pool = Pool(
        context.pool.vm.__class__(16 << 20),
        {"kern.ipc.nmbufs": 80, "kern.ipc.nmbclusters": 10},
        strict=False,
        worker=False,
    )
    m = pool.getcl().append(b"m" * 100)
    m.next = pool.getcl(flags=0).append(b"n" * 2000)
    m.next.next = pool.getcl(flags=0).append(b"o" * 2000)
    m.fixhdr()
    share = m.copypacket()
    held: list[Mbuf] = []
    while refused(lambda: held.append(pool.getcl()), NoBufs) is None:
        pass
    while refused(lambda: held.append(pool.get()), NoBufs) is None:
        pass
    calls: dict[str, Callable[[], object]] = {
        "copyback": lambda: m.copyback(50, b"x" * 9000),
        "append": lambda: m.append(b"x" * 9000),
        "prepend": lambda: m.prepend(2100 if False else 167),
        "split": lambda: m.split(50),
        "copyup": lambda: m.copyup(150, 10),
        "makespace": lambda: m.makespace(50, 1000),
        "pullup": lambda: m.pullup(150),
        "unshare": m.unshare,
        "collapse": lambda: m.collapse(1),
        "defrag": m.defrag,
    }
    before = (bytes(m), [(n.len, n.offset, n.flags, n.refcnt) for n in _mbufs(m)], m.pkthdr.len)
    error = refused(calls[verb], MbufError)
    if error is not None:
        assert (bytes(m), [(n.len, n.offset, n.flags, n.refcnt) for n in _mbufs(m)], m.pkthdr.len) == before
    share.freem()
    m.freem()
    pool.free_bulk(held)
    assert (pool.out, pool.close(), pool.vm.used) == (0, 0, 0)


def _mbufs(m: Mbuf | None) -> list[Mbuf]:
    found = []
    while m is not None:
        found.append(m)
        m = m.next
    return found
