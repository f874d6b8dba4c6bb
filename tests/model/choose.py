"""Random arguments: bytes, offsets, `how`, other packets."""

from typing import Any

from mbuf import M_NOWAIT, M_PKTHDR, M_WAITOK
from model.pool_model import Packet, PoolModel, chain


def random_data(model: PoolModel) -> bytes:
    rng = model.rng
    return rng.randbytes(rng.choice((0, 1, 3, 20, 100, rng.randint(0, 600), rng.randint(0, 3000))))


def offset(model: PoolModel, packet: Packet, beyond: int = 0) -> int:
    """An offset in a packet, often at a border of two mbufs, at most `beyond` bytes after its end."""
    rng, total = model.rng, len(packet.data)
    borders = [0]
    for m in chain(packet.m):
        borders.append(borders[-1] + m.len)
    at = rng.choice((rng.choice(borders), rng.randint(0, total + beyond), rng.randint(0, min(total, 200)), 14, total))
    return min(at, total + beyond)


def how(model: PoolModel) -> tuple[Any, ...]:
    """M_NOWAIT, or M_WAITOK with a timeout of 0, which is the same."""
    return (M_WAITOK, 0) if model.rng.random() < 0.2 else (M_NOWAIT,)


def other(model: PoolModel, packet: Packet) -> Packet | None:
    """Another packet, if there is one."""
    rest = [p for p in model.packets if p is not packet]
    return model.rng.choice(rest) if rest else None


def has_inner_header(packet: Packet) -> bool:
    """True if an mbuf other than the first has a packet header, as after `cat` of a packet."""
    return any(m.flags & M_PKTHDR for m in list(chain(packet.m))[1:])
