"""A random walk through all verbs, on every kind of chain, does what it would do to rows of bytes.

A step that goes wrong says how to get there again. `MBUF_SOAK=1` in the environment makes it a long walk.
"""

import gc
import os
import random
from random import Random
from typing import Any

import pytest

from model import headers, keepers, looks, moves, ways
from model.audit import audit
from model.world import BYTES, PACKETS, World

SOAK = os.environ.get("MBUF_SOAK") == "1"
#: 10**5 steps in all, or 10**7.
SEEDS = range(1000 if SOAK else 10)
STEPS = 2500

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "uncached": {"caching": False},
    "debug": {"debug": True},
    "faulty": {"faulty": True},
}

MAKE = [ways.empty] * 4 + [
    ways.bulk,
    ways.frombytes,
    ways.frombytes,
    ways.devget,
    ways.wrap,
    ways.wrap,
    ways.extadd,
    ways.extaddref,
    ways.ring,
    ways.tiny,
]
VERBS: dict[Any, int] = {
    moves.append: 5,
    moves.prepend: 3,
    moves.receive: 2,
    moves.extend: 1,
    moves.shorten: 1,
    moves.adj: 3,
    moves.copyback: 3,
    moves.makespace: 3,
    moves.cat: 2,
    moves.catpkt: 2,
    moves.link: 1,
    moves.unlink: 1,
    moves.split: 3,
    moves.copym: 3,
    moves.copypacket: 3,
    moves.dup: 1,
    moves.pullup: 3,
    moves.copyup: 2,
    moves.pulldown: 3,
    moves.defrag: 1,
    moves.collapse: 2,
    moves.fragment: 1,
    moves.unshare: 2,
    moves.fixhdr: 1,
    headers.demote: 1,
    headers.move_pkthdr: 1,
    headers.dup_pkthdr: 1,
    headers.note: 1,
    headers.mark: 1,
    looks.detach: 1,
    looks.look: 2,
    looks.release_view: 2,
    looks.scribble: 2,
    looks.read: 4,
    looks.sane: 1,
    looks.nonsense: 1,
    ways.share: 1,
    headers.tag_make: 2,
    headers.tag_put: 2,
    headers.tag_take: 1,
    headers.tag_find: 1,
    headers.tag_copy: 1,
    headers.snd_tag: 1,
    keepers.enqueue: 2,
    keepers.dequeue: 2,
    keepers.requeue: 1,
    keepers.free: 1,
    keepers.freem: 3,
    keepers.stale: 1,
    keepers.broken: 1,
    keepers.reclaim: 1,
    keepers.cpu: 1,
}


@pytest.mark.filterwarnings("ignore:an mbuf from .* was dropped:ResourceWarning")
@pytest.mark.timeout(7200 if SOAK else 120)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_any_walk_through_the_verbs_is_a_walk_through_bytes(kind: str, seed: int) -> None:
    walk(KINDS[kind], seed, STEPS)


def walk(kind: dict[str, Any], seed: int, steps: int, often: int = 4) -> World:
    """Take so many steps, and look at all that there is after every `often` of them."""
    rng = Random(seed)
    random.seed(seed)  # `fragment` may choose sizes itself
    world = World(rng, **kind)
    verbs, weights = [*VERBS], [*VERBS.values()]
    step = 0
    done = "nothing yet"
    try:
        for step in range(steps):
            crowded = len(world.packets) >= PACKETS or any(len(packet.data) > BYTES for packet in world.packets)
            if crowded or not world.packets or rng.random() < 0.12:
                verb = keepers.freem if crowded else rng.choice(MAKE)
            else:
                verb = rng.choices(verbs, weights)[0]
            done = verb.__name__
            if verb in MAKE or verb is ways.share:
                verb(world)
            else:
                packet = max(world.packets, key=lambda p: len(p.data)) if crowded else rng.choice(world.packets)
                verb(world, packet)
            if step % often == 0:
                audit(world)
        done = "letting go of all"
        world.end()
        audit(world)
        world.close()
    except BaseException as error:
        error.add_note(f"step {step} of walk({kind}, {seed}, {steps}, {often}): {done}")
        raise
    finally:
        world.restore()
    gc.collect()
    return world
