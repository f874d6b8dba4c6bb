"""Tells which mbufs of a pool a test has not freed."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from mbuf.errors import Inval
from mbuf.pool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator


def leaks(pool: Pool) -> str:
    """Say which mbufs of a pool are out, and how many freed buffers are still viewed; empty if there are none.

    Call it at the end of a test: `assert leaks(pool) == ""`. A pool with `debug=True` knows where each mbuf was
    allocated: then the text has a line for each place, with the number of mbufs. If something is out, Python's garbage
    collector runs first, so that mbufs in what is only garbage don't count. Frees nothing else; a closed pool can be
    asked, too. Raises `Inval` if `pool` is no `Pool`.
    """
    if not isinstance(pool, Pool):
        raise Inval(f"leaks: give a Pool, not {type(pool).__name__}")
    if pool.out or _viewed(pool):
        gc.collect()
    return "\n".join(_lines(pool))


def _lines(pool: Pool) -> Iterator[str]:
    out, viewed = pool.out, _viewed(pool)
    if out:
        yield "1 mbuf is out:" if out == 1 else f"{out} mbufs are out:"
        for place, count in pool.sites().most_common():
            yield f"  {count} allocated at {place}"
        if not pool.debug:
            yield "  make the pool with debug=True to see where they were allocated"
    if viewed:
        buffers = "1 buffer is" if viewed == 1 else f"{viewed} buffers are"
        yield f"{buffers} freed, but still viewed: release each memoryview of their bytes"


def _viewed(pool: Pool) -> int:
    """How many freed mbufs and clusters a view still shows; a packet of `getcl` is one, and is out, too."""
    return sum(zone.held for zone in pool.own.all())
