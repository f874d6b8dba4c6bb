"""Allocates and frees several items of a zone."""

from mbuf import M_NOWAIT
from mbuf.uma.item import Item
from mbuf.uma.zone import Zone


def alloc_items(zone: Zone, count: int) -> list[Item]:
    """Allocate so many items."""
    items = [zone.alloc(M_NOWAIT, None) for _ in range(count)]
    assert None not in items
    return items


def free_items(zone: Zone, items: list[Item]) -> None:
    """Free these items, the last one first; the list is empty afterwards."""
    while items:
        zone.free(items.pop())
