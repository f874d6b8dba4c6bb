"""Functions that build chains, in every way that the library has."""

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
from model.pool_model import FAILED, ExternalMemory, Head, Packet, PoolModel, chain

Builder = Callable[[PoolModel], Any]


def random_bytes(model: PoolModel, most: int) -> bytes:
    """Random bytes, often only a few."""
    rng = model.rng
    return rng.randbytes(min(rng.choice((0, 1, 7, 40, 168, 300, 2048, 5000)), rng.randint(0, most)))


def plain(model: PoolModel) -> Mbuf | Any:
    pool = model.pool
    method = model.rng.choice((pool.get, pool.gethdr, pool.getcl))
    return model.attempt(method)


def headless_cluster(model: PoolModel) -> Mbuf | Any:
    return model.attempt(model.pool.getcl, M_NOWAIT, MT_DATA, 0)


def jumbo(model: PoolModel) -> Mbuf | Any:
    return model.attempt(model.pool.getjcl, M_NOWAIT, MT_DATA, M_PKTHDR, model.rng.choice((2048, 4096, 9216, 16384)))


def sized(model: PoolModel) -> Mbuf | Any:
    rng, pool = model.rng, model.pool
    return model.attempt(rng.choice((pool.get2, pool.getm2)), rng.randint(1, 4096), M_NOWAIT, MT_DATA, M_PKTHDR)


def attached(model: PoolModel) -> Mbuf | Any:
    """An mbuf to which a cluster is attached afterwards."""
    rng, pool = model.rng, model.pool
    m = model.attempt(rng.choice((pool.get, pool.gethdr)))
    if m is FAILED:
        return m
    if rng.random() < 0.5:
        model.attempt(*rng.choice(((pool.clget, m), (pool.cljget, m, M_NOWAIT, 4096))))
    else:
        cluster = model.attempt(pool.cljget, None, M_NOWAIT, 2048)
        if cluster is not FAILED:
            m.cljset(cluster)
    return m


ALLOCATIONS = (plain, plain, headless_cluster, jumbo, sized, attached)


def empty(model: PoolModel) -> None:
    """Build an empty chain."""
    m = model.rng.choice(ALLOCATIONS)(model)
    if m is not FAILED:
        model.add(m, b"", Head() if m.flags & M_PKTHDR else None)


def bulk(model: PoolModel) -> None:
    got = model.attempt(model.pool.getcl_bulk, model.rng.randint(0, 3))
    if got is not FAILED:
        for m in got:
            model.add(m, b"", Head())


def frombytes(model: PoolModel) -> None:
    rng = model.rng
    data, flags = random_bytes(model, 6000), rng.choice((0, M_PKTHDR))
    m = model.attempt(model.pool.frombytes, data, M_NOWAIT, rng.choice((0, 14, 167)), flags)
    if m is not FAILED:
        model.add(m, data, Head() if flags else None)


def devget(model: PoolModel) -> None:
    rng = model.rng
    data = random_bytes(model, 6000) or b"x"
    copies: list[int] = []

    def copy(source: memoryview, target: memoryview) -> None:
        copies.append(len(source))
        target[:] = source

    m = model.attempt(model.pool.devget, data, rng.choice((0, 2, MHLEN)), model, rng.choice((None, copy)))
    if m is not FAILED:
        assert sum(copies) in (0, len(data))
        model.add(m, data, Head()).head.rcvif = model  # type: ignore[union-attr]


def wrap(model: PoolModel) -> None:
    """Build a packet of external memory, sometimes read-only."""
    rng = model.rng
    data = rng.randbytes(rng.choice((1, 100, 3000)))
    memory = ExternalMemory(bytearray(data) if rng.random() < 0.7 else data, None)
    memory.has_free = rng.random() < 0.7
    m = model.attempt(model.pool.wrap, memory.obj, memory.on_free if memory.has_free else None)
    if m is not FAILED:
        model.external[id(memory.obj)] = memory
        model.add(m, data, Head())


def extadd(model: PoolModel) -> None:
    """Build an empty mbuf with external storage."""
    rng, pool = model.rng, model.pool
    memory = ExternalMemory(bytearray(rng.choice((1, 64, 5000))), None)
    memory.has_free = rng.random() < 0.7
    m = model.attempt(rng.choice((pool.get, pool.gethdr)))
    if m is not FAILED:
        type = rng.choice((EXT_NET_DRV, EXT_MOD_TYPE, EXT_DISPOSABLE))
        model.external[id(memory.obj)] = memory
        m.extadd(memory.obj, memory.free if memory.has_free else None, memory, 7, 0, type)
        model.add(m, b"", Head() if m.flags & M_PKTHDR else None)


def extaddref(model: PoolModel) -> None:
    """Build mbufs that share external storage with a reference count outside of it; sometimes M_NOFREE mbufs."""
    rng, pool = model.rng, model.pool
    memory = ExternalMemory(bytearray(rng.choice((64, 5000))), RefCount(rng.choice((0, 0, 1))))
    for _ in range(rng.randint(1, 3)):
        m = pool.init() if rng.random() < 0.5 else model.attempt(pool.gethdr)
        if m is not FAILED:
            model.external[id(memory.obj)] = memory
            m.extaddref(memory.obj, memory.refs, memory.free)
            model.add(m, b"", Head() if m.flags & M_PKTHDR else None)


def rxring(model: PoolModel) -> None:
    """Build an M_NOFREE mbuf with the memory of a receive ring."""
    memory = ExternalMemory(bytearray(512), None)
    memory.has_free = False
    model.external[id(memory.obj)] = memory
    m = model.pool.init(flags=M_PKTHDR)
    m.extadd(memory.obj, type=EXT_RXRING)
    model.add(m, b"", Head())


def tiny(model: PoolModel) -> None:
    """Build a chain of mbufs with 0 to 3 bytes each."""
    rng, pool = model.rng, model.pool
    data = bytearray()
    first = last = model.attempt(pool.gethdr)
    while last is not FAILED:
        piece = rng.randbytes(rng.randint(0, 3))
        last.append(piece)
        data += piece
        n = model.attempt(pool.get) if rng.random() < 0.8 else FAILED
        if n is not FAILED:
            last.next = n
        last = n
    if first is not FAILED:
        first.fixhdr()
        model.add(first, data, Head())


def share(model: PoolModel) -> None:
    """Build an mbuf that shares the storage of another."""
    packet: Packet = model.rng.choice(model.packets)
    source = model.rng.choice([*chain(packet.m)])
    m = model.attempt(model.pool.get)
    if m is FAILED:
        return
    if source.ext is None:
        m.free()
        return
    m.dupcl(source)
    model.add(m, bytes(source.data), None)
