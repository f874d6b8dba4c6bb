"""What a test may do to an mbuf or a pool and a user may not.

Breaks the rules of `Segment` on purpose, never the bounds of its storage: whatever a test writes here
stays in the mbuf that it names. Has a pool allocate from zones, pages, windows and tags that fail on purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.errors import Inval
from mbuf.packet.segment import Segment
from mbuf.pool.pool import Pool

if TYPE_CHECKING:
    import cython

    from mbuf.packet.tag import TagZone
    from mbuf.pool.zones import Zones
    from mbuf.uma.pages import Pages
    from mbuf.vm.page import Memory
    from mbuf.vm.sfbuf import SfBufs
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.packet.segment import bound, capacity, check_alive, start


def put(m: Segment, off: int, data: bytes) -> None:
    """Hold `data`, at `off` of the storage, from now on; written even if that is shared or read-only."""
    if m is None:
        raise Inval("put: there is no mbuf to put bytes into")
    check_alive(m)
    count = len(data)
    most = capacity(m)
    if not 0 <= off <= most - count:
        raise Inval(f"put: {count} bytes at {off} don't fit; the storage has {most}")
    buf: Memory = m.buf
    buf.write(start(m) + off, data, 0, count)
    m.off = start(m) + off
    m.count = count


def aim(m: Segment, off: int, count: int) -> None:
    """Hold the `count` bytes at `off` of the storage, from now on."""
    if m is None:
        raise Inval("aim: there is no mbuf")
    check_alive(m)
    most = bound(m) - start(m)
    if not 0 <= off <= most - count or count < 0:
        raise Inval(f"aim: {count} bytes at {off}: the storage has {most}")
    m.off = start(m) + off
    m.count = count


def enforce(pool: Pool, zones: Zones) -> None:
    """Have all that the pool allocates, and what the methods of its mbufs allocate, come from these zones."""
    if pool is None or pool._allocator is None:
        raise Inval("enforce: there is no pool")
    pool._allocator.enforce(zones)


def supply(pool: Pool, pages: Pages, sfbufs: SfBufs, tags: TagZone) -> None:
    """Have single pages, windows onto pages of files, and tags come from these."""
    if pool is None or pool._allocator is None:
        raise Inval("supply: there is no pool")
    pool._allocator.supply(pages, sfbufs)
    pool._allocator.tags = tags
