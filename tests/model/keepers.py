"""What packets stand in, and how they end: queues, and every way to let go."""

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
from model.world import Packet, World, chain

# Queues.


def enqueue(world: World, packet: Packet) -> None:
    q, line = world.rng.choice(world.queues)
    first = world.rng.random() < 0.3
    if not first and q.full:
        try:
            q.enqueue(packet.m)
        except NoBufs:
            return
        raise AssertionError("a full queue takes one more")
    if first:
        q.prepend(packet.m)
        line.insert(0, packet)
    else:
        q.enqueue(packet.m)
        line.append(packet)
    world.packets.remove(packet)


def dequeue(world: World, packet: Packet) -> None:
    q, line = world.rng.choice(world.queues)
    m = q.dequeue()
    if m is None:
        assert not line
    else:
        first = line.pop(0)
        assert m is first.m
        assert m.nextpkt is None
        world.packets.append(first)


def requeue(world: World, packet: Packet) -> None:
    """All packets of a queue at once: freed, taken, or put behind another's."""
    n = world.rng.randrange(2)
    (q, line), (after, theirs) = world.queues[n], world.queues[1 - n]
    way = world.rng.randrange(3)
    if way == 0:
        q.drain()
    elif way == 1:
        m = q.flush()
        for queued in line:
            assert m is queued.m
            m, queued.m.nextpkt = queued.m.nextpkt, None
            world.packets.append(queued)
        assert m is None
    else:
        after.concat(q)
        theirs += line
    line.clear()


# The end.


def free(world: World, packet: Packet) -> None:
    """Let go of the first mbuf; the rest is the caller's."""
    count = packet.m.len
    m = world.gone(packet)
    world.stale.append(m)
    world.found(m.free(), packet.data[count:])


def freem(world: World, packet: Packet) -> None:
    count = len([*chain(packet.m)])
    m = world.gone(packet)
    way = world.rng.randrange(5)
    if way == 0:
        m.freem()
    elif way == 1:
        world.pool.freem(m)
    elif way == 2:
        world.pool.free_bulk([m])
    elif way == 3:
        with m:
            pass
    else:
        world.drops = None if world.drops is None else world.drops + count
        return  # no name is left but this one
    world.stale.append(m)


def stale(world: World, packet: Packet) -> None:
    """What was freed stays so, and nothing is done with it."""
    while len(world.stale) > 20:
        world.stale.pop(0)
    if not world.stale:
        return
    m, n = world.rng.choice(world.stale), packet.m
    alone: Any = (bytes, len, Mbuf.free, Mbuf.freem, Mbuf.copypacket, Mbuf.defrag, Mbuf.detach, lambda m: m.adj(0))
    both: Any = (n.cat, n.catpkt, n.dupcl, n.move_pkthdr, n.dup_pkthdr, n.tag_copy_chain, world.queues[1][0].enqueue)
    world.attempt(world.rng.choice(alone), m, of=[packet], wrong=Freed)
    verb = world.rng.choice(both)
    world.attempt(verb, m, of=[packet], wrong=Freed, may=(Inval,))


def broken(world: World, packet: Packet) -> None:
    """An mbuf inside a chain is freed behind its back: whatever comes of the chain, nothing is lost."""
    rest = [*chain(packet.m)][1:]
    if not rest:
        return
    at = world.rng.randrange(len(rest))
    after = rest[at].free()
    world.found(after, b"" if after is None else b"".join(bytes(m.data) for m in chain(after)))
    m = world.gone(packet)
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
        world.rng.choice(verbs)(m)
    for look in world.views:
        look.again()
    m.freem()
    world.drops = None


# The memory behind it all.


def reclaim(world: World, packet: Packet) -> None:
    zones = world.zones.all()
    if world.rng.random() < 0.3:
        world.pool.reclaim.drain()
    else:
        request = world.rng.choice((UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM))
        world.rng.choice(zones).reclaim(request)


def cpu(world: World, packet: Packet) -> None:
    world.pool.cpus.move(world.rng.randrange(2))
