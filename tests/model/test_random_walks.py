"""A random walk through all verbs, on every kind of chain, does what it would do to rows of bytes.

A step that goes error says how to get there again. `MBUF_SOAK=1` in the environment makes it a long walk.
"""

import gc
import os
import random
from random import Random
from typing import Any

import pytest

from model import builders, headers, mutators, queues, views
from model.audit import audit
from model.pool_model import BYTES, PACKETS, PoolModel

SOAK = os.environ.get("MBUF_SOAK") == "1"
#: Together 10**5 steps; with MBUF_SOAK 10**7.
SEEDS = range(1000 if SOAK else 10)
STEPS = 2500

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "uncached": {"caching": False},
    "debug": {"debug": True},
    "faulty": {"faulty": True},
    "budget": {"budget": True},
    "faulty budget": {"budget": True, "faulty": True, "debug": True},
}

BUILDERS = [builders.empty] * 4 + [
    builders.bulk,
    builders.frombytes,
    builders.frombytes,
    builders.devget,
    builders.wrap,
    builders.wrap,
    builders.extadd,
    builders.extaddref,
    builders.rxring,
    builders.tiny,
]
VERBS: dict[Any, int] = {
    mutators.append: 5,
    mutators.prepend: 3,
    mutators.receive: 2,
    mutators.extend: 1,
    mutators.shorten: 1,
    mutators.adj: 3,
    mutators.copyback: 3,
    mutators.makespace: 3,
    mutators.cat: 2,
    mutators.catpkt: 2,
    mutators.link: 1,
    mutators.unlink: 1,
    mutators.split: 3,
    mutators.copym: 3,
    mutators.copypacket: 3,
    mutators.dup: 1,
    mutators.pullup: 3,
    mutators.copyup: 2,
    mutators.pulldown: 3,
    mutators.defrag: 1,
    mutators.compact: 1,
    mutators.collapse: 2,
    mutators.fragment: 1,
    mutators.unshare: 2,
    mutators.fixhdr: 1,
    headers.demote: 1,
    headers.move_pkthdr: 1,
    headers.dup_pkthdr: 1,
    headers.set_fields: 1,
    headers.set_rdonly: 1,
    views.detach: 1,
    views.add_view: 2,
    views.release_view: 2,
    views.overwrite: 2,
    views.read: 4,
    views.sanity: 1,
    views.bad_argument: 1,
    builders.share: 1,
    headers.tag_make: 2,
    headers.tag_put: 2,
    headers.tag_take: 1,
    headers.tag_find: 1,
    headers.tag_copy: 1,
    headers.snd_tag: 1,
    queues.enqueue: 2,
    queues.dequeue: 2,
    queues.requeue: 1,
    queues.free: 1,
    queues.freem: 3,
    queues.use_freed: 1,
    queues.free_inside: 1,
    queues.reclaim: 1,
    queues.cpu: 1,
}


@pytest.mark.filterwarnings("ignore:an mbuf from .* was dropped:ResourceWarning")
@pytest.mark.timeout(7200 if SOAK else 120)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_walk_has_the_results_of_the_model(kind: str, seed: int) -> None:
    walk(KINDS[kind], seed, STEPS)


def walk(kind: dict[str, Any], seed: int, steps: int, audit_interval: int = 4) -> PoolModel:
    """Take so many steps, and audit everything after every `audit_interval` of them."""
    rng = Random(seed)
    random.seed(seed)  # `fragment` may choose random sizes
    model = PoolModel(rng, **kind)
    verbs, weights = [*VERBS], [*VERBS.values()]
    step = 0
    done = "nothing yet"
    try:
        for step in range(steps):
            too_many = len(model.packets) >= PACKETS or any(len(packet.data) > BYTES for packet in model.packets)
            if too_many or not model.packets or rng.random() < 0.12:
                verb = queues.freem if too_many else rng.choice(BUILDERS)
            else:
                verb = rng.choices(verbs, weights)[0]
            done = verb.__name__
            if verb in BUILDERS or verb is builders.share:
                verb(model)
            else:
                packet = max(model.packets, key=lambda p: len(p.data)) if too_many else rng.choice(model.packets)
                verb(model, packet)
            if step % audit_interval == 0:
                audit(model)
        done = "the end"
        model.end()
        audit(model)
        model.close()
    except BaseException as error:
        error.add_note(f"step {step} of walk({kind}, {seed}, {steps}, {audit_interval}): {done}")
        raise
    finally:
        model.restore()
    gc.collect()
    return model
