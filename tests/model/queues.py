"""Queues of packets, all ways to free them, and reclaim."""

from contextlib import suppress
from typing import Any

from mbuf import (
    UMA_RECLAIM_DRAIN,
    UMA_RECLAIM_DRAIN_CPU,
    UMA_RECLAIM_TRIM,
    Freed,
    Inval,
    Mbuf,
    NoBufs,
    NoMemory,
    ReadOnly,
)
from model.pool_model import Packet, PoolModel, chain

# Queues.


def enqueue(model: PoolModel, packet: Packet) -> None:
    q, queued = model.rng.choice(model.queues)
    first = model.rng.random() < 0.3
    if not first and q.full:
        try:
            q.enqueue(packet.m)
        except NoBufs:
            return
        raise AssertionError("a full queue accepted a packet")
    if first:
        q.prepend(packet.m)
        queued.insert(0, packet)
    else:
        q.enqueue(packet.m)
        queued.append(packet)
    model.packets.remove(packet)


def dequeue(model: PoolModel, packet: Packet) -> None:
    q, queued = model.rng.choice(model.queues)
    m = q.dequeue()
    if m is None:
        assert not queued
    else:
        first = queued.pop(0)
        assert m is first.m
        assert m.nextpkt is None
        model.packets.append(first)


def requeue(model: PoolModel, packet: Packet) -> None:
    """Drain, flush or concatenate a queue."""
    n = model.rng.randrange(2)
    (q, queued), (after, theirs) = model.queues[n], model.queues[1 - n]
    method = model.rng.randrange(3)
    if method == 0:
        q.drain()
    elif method == 1:
        m = q.flush()
        for waiting in queued:
            assert m is waiting.m
            m, waiting.m.nextpkt = waiting.m.nextpkt, None
            model.packets.append(waiting)
        assert m is None
    else:
        after.concat(q)
        theirs += queued
    queued.clear()


# Free.


def free(model: PoolModel, packet: Packet) -> None:
    """Free the first mbuf; the rest becomes a packet."""
    count = packet.m.len
    m = model.remove(packet)
    model.freed.append(m)
    model.adopt(m.free(), packet.data[count:])


def freem(model: PoolModel, packet: Packet) -> None:
    count = len([*chain(packet.m)])
    m = model.remove(packet)
    method = model.rng.randrange(5)
    if method == 0:
        m.freem()
    elif method == 1:
        model.pool.freem(m)
    elif method == 2:
        model.pool.free_bulk([m])
    elif method == 3:
        with m:
            pass
    else:
        model.drops = None if model.drops is None else model.drops + count
        return  # the only reference to the chain ends here
    model.freed.append(m)


def use_freed(model: PoolModel, packet: Packet) -> None:
    """Every use of a freed mbuf raises Freed and changes nothing."""
    while len(model.freed) > 20:
        model.freed.pop(0)
    if not model.freed:
        return
    m, n = model.rng.choice(model.freed), packet.m
    alone: Any = (bytes, len, Mbuf.free, Mbuf.freem, Mbuf.copypacket, Mbuf.defrag, Mbuf.detach, lambda m: m.adj(0))
    both: Any = (n.cat, n.catpkt, n.dupcl, n.move_pkthdr, n.dup_pkthdr, n.tag_copy_chain, model.queues[1][0].enqueue)
    model.attempt(model.rng.choice(alone), m, packets=[packet], error=Freed)
    verb = model.rng.choice(both)
    model.attempt(verb, m, packets=[packet], error=Freed, may_raise=(Inval,))


def free_inside(model: PoolModel, packet: Packet) -> None:
    """Free an mbuf in the middle of a chain: any verb on the chain may fail, but nothing is lost."""
    rest = [*chain(packet.m)][1:]
    if not rest:
        return
    at = model.rng.randrange(len(rest))
    after = rest[at].free()
    model.adopt(after, b"" if after is None else b"".join(bytes(m.data) for m in chain(after)))
    m = model.remove(packet)
    verbs: Any = (
        bytes,
        lambda m: m.adj(-1000),
        lambda m: m.pullup(100),
        lambda m: m.copym(),
        lambda m: m.split(200),
        lambda m: m.defrag(),
        lambda m: m.collapse(1),
        lambda m: m.unshare(),
        lambda m: m.append(bytes(300)),
        lambda m: m.pulldown(0, 400),
        lambda m: m.makespace(100, 20),
        lambda m: m.copyback(100, bytes(300)),
        lambda m: m.sanity(True),
        lambda m: m.demote(True),
    )
    with suppress(Freed, Inval, NoBufs, NoMemory, ReadOnly):
        model.rng.choice(verbs)(m)
    for view in model.views:
        view.update()
    m.freem()
    model.drops = None


# Caches.


def reclaim(model: PoolModel, packet: Packet) -> None:
    zones = model.zones.all()
    if model.rng.random() < 0.3:
        model.pool.reclaim.drain()
    else:
        request = model.rng.choice((UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM))
        model.rng.choice(zones).reclaim(request)


def cpu(model: PoolModel, packet: Packet) -> None:
    model.pool.cpus.move(model.rng.randrange(2))
