"""What a move is made with: bytes, places, other packets, some of them such as can't be."""

from typing import Any

from mbuf import M_NOWAIT, M_PKTHDR, M_WAITOK
from model.world import Packet, World, chain


def bytes_(world: World) -> bytes:
    rng = world.rng
    return rng.randbytes(rng.choice((0, 1, 3, 20, 100, rng.randint(0, 600), rng.randint(0, 3000))))


def point(world: World, packet: Packet, beyond: int = 0) -> int:
    """A place in a packet; often at an edge, and at most so much beyond its end."""
    rng, total = world.rng, len(packet.data)
    edges = [0]
    for m in chain(packet.m):
        edges.append(edges[-1] + m.len)
    at = rng.choice((rng.choice(edges), rng.randint(0, total + beyond), rng.randint(0, min(total, 200)), 14, total))
    return min(at, total + beyond)


def how(world: World) -> tuple[Any, ...]:
    """To wait for no time at all is not to wait."""
    return (M_WAITOK, 0) if world.rng.random() < 0.2 else (M_NOWAIT,)


def other(world: World, packet: Packet) -> Packet | None:
    """Another packet, if there is one."""
    rest = [p for p in world.packets if p is not packet]
    return world.rng.choice(rest) if rest else None


def inner(packet: Packet) -> bool:
    """Whether an mbuf inside the chain has a packet header, as after `cat` of a packet."""
    return any(m.flags & M_PKTHDR for m in list(chain(packet.m))[1:])
