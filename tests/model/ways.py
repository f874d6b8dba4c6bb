"""Every way to get a chain of some bytes."""

from collections.abc import Callable
from typing import Any

from mbuf import (
    EXT_DISPOSABLE,
    EXT_MOD_TYPE,
    EXT_NET_DRV,
    EXT_RXRING,
    M_NOWAIT,
    M_PKTHDR,
    MHLEN,
    MT_DATA,
    Mbuf,
    RefCount,
)
from model.world import REFUSED, Head, Lent, Packet, World, chain

Way = Callable[[World], Any]


def some(world: World, most: int) -> bytes:
    """Random bytes, rather few than many."""
    rng = world.rng
    return rng.randbytes(min(rng.choice((0, 1, 7, 40, 168, 300, 2048, 5000)), rng.randint(0, most)))


def plain(world: World) -> Mbuf | Any:
    pool = world.pool
    way = world.rng.choice((pool.get, pool.gethdr, pool.getcl))
    return world.attempt(way)


def headless_cluster(world: World) -> Mbuf | Any:
    return world.attempt(world.pool.getcl, M_NOWAIT, MT_DATA, 0)


def jumbo(world: World) -> Mbuf | Any:
    return world.attempt(world.pool.getjcl, M_NOWAIT, MT_DATA, M_PKTHDR, world.rng.choice((2048, 4096, 9216, 16384)))


def sized(world: World) -> Mbuf | Any:
    rng, pool = world.rng, world.pool
    return world.attempt(rng.choice((pool.get2, pool.getm2)), rng.randint(1, 4096), M_NOWAIT, MT_DATA, M_PKTHDR)


def attached(world: World) -> Mbuf | Any:
    """A cluster is attached to an mbuf that was there before."""
    rng, pool = world.rng, world.pool
    m = world.attempt(rng.choice((pool.get, pool.gethdr)))
    if m is REFUSED:
        return m
    if rng.random() < 0.5:
        world.attempt(*rng.choice(((pool.clget, m), (pool.cljget, m, M_NOWAIT, 4096))))
    else:
        cluster = world.attempt(pool.cljget, None, M_NOWAIT, 2048)
        if cluster is not REFUSED:
            m.cljset(cluster)
    return m


WAYS = (plain, plain, headless_cluster, jumbo, sized, attached)


def empty(world: World) -> None:
    """Get a chain with nothing in it; `append` will fill it."""
    m = world.rng.choice(WAYS)(world)
    if m is not REFUSED:
        world.born(m, b"", Head() if m.flags & M_PKTHDR else None)


def bulk(world: World) -> None:
    got = world.attempt(world.pool.getcl_bulk, world.rng.randint(0, 3))
    if got is not REFUSED:
        for m in got:
            world.born(m, b"", Head())


def frombytes(world: World) -> None:
    rng = world.rng
    data, flags = some(world, 6000), rng.choice((0, M_PKTHDR))
    m = world.attempt(world.pool.frombytes, data, M_NOWAIT, rng.choice((0, 14, 167)), flags)
    if m is not REFUSED:
        world.born(m, data, Head() if flags else None)


def devget(world: World) -> None:
    rng = world.rng
    data = some(world, 6000) or b"x"
    copies: list[int] = []

    def copy(source: memoryview, target: memoryview) -> None:
        copies.append(len(source))
        target[:] = source

    m = world.attempt(world.pool.devget, data, rng.choice((0, 2, MHLEN)), world, rng.choice((None, copy)))
    if m is not REFUSED:
        assert sum(copies) in (0, len(data))
        world.born(m, data, Head()).head.rcvif = world  # type: ignore[union-attr]


def wrap(world: World) -> None:
    """A packet of somebody's bytes, some of which can't be written."""
    rng = world.rng
    data = rng.randbytes(rng.choice((1, 100, 3000)))
    lent = Lent(bytearray(data) if rng.random() < 0.7 else data, None)
    lent.routine = rng.random() < 0.7
    m = world.attempt(world.pool.wrap, lent.obj, lent.on_free if lent.routine else None)
    if m is not REFUSED:
        world.lent[id(lent.obj)] = lent
        world.born(m, data, Head())


def extadd(world: World) -> None:
    """Storage that is somebody's memory, with room in it."""
    rng, pool = world.rng, world.pool
    lent = Lent(bytearray(rng.choice((1, 64, 5000))), None)
    lent.routine = rng.random() < 0.7
    m = world.attempt(rng.choice((pool.get, pool.gethdr)))
    if m is not REFUSED:
        type = rng.choice((EXT_NET_DRV, EXT_MOD_TYPE, EXT_DISPOSABLE))
        world.lent[id(lent.obj)] = lent
        m.extadd(lent.obj, lent.free if lent.routine else None, lent, 7, 0, type)
        world.born(m, b"", Head() if m.flags & M_PKTHDR else None)


def extaddref(world: World) -> None:
    """Storage whose uses are counted elsewhere; in an mbuf of no zone now and then."""
    rng, pool = world.rng, world.pool
    lent = Lent(bytearray(rng.choice((64, 5000))), RefCount(rng.choice((0, 0, 1))))
    for _ in range(rng.randint(1, 3)):
        m = pool.init() if rng.random() < 0.5 else world.attempt(pool.gethdr)
        if m is not REFUSED:
            world.lent[id(lent.obj)] = lent
            m.extaddref(lent.obj, lent.refs, lent.free)
            world.born(m, b"", Head() if m.flags & M_PKTHDR else None)


def ring(world: World) -> None:
    """A receive ring's memory, in an mbuf of no zone."""
    lent = Lent(bytearray(512), None)
    lent.routine = False
    world.lent[id(lent.obj)] = lent
    m = world.pool.init(flags=M_PKTHDR)
    m.extadd(lent.obj, type=EXT_RXRING)
    world.born(m, b"", Head())


def tiny(world: World) -> None:
    """A few bytes to an mbuf, and now and then none."""
    rng, pool = world.rng, world.pool
    data = bytearray()
    first = last = world.attempt(pool.gethdr)
    while last is not REFUSED:
        piece = rng.randbytes(rng.randint(0, 3))
        last.append(piece)
        data += piece
        n = world.attempt(pool.get) if rng.random() < 0.8 else REFUSED
        if n is not REFUSED:
            last.next = n
        last = n
    if first is not REFUSED:
        first.fixhdr()
        world.born(first, data, Head())


def share(world: World) -> None:
    """Another mbuf for the storage of one that is somewhere."""
    packet: Packet = world.rng.choice(world.packets)
    of = world.rng.choice([*chain(packet.m)])
    m = world.attempt(world.pool.get)
    if m is REFUSED:
        return
    if of.ext is None:
        m.free()
        return
    m.dupcl(of)
    world.born(m, bytes(of.data), None)
