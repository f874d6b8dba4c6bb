"""Items and backends. tests/packet/test_segment.py tests the release of items through mbufs."""

import pytest

from mbuf import M_NOWAIT
from mbuf.uma.backend import Backend
from mbuf.uma.bucket import Bucket
from mbuf.uma.item import Item, ItemOwner


def test_a_home_takes_items_back_in_its_own_way() -> None:
    with pytest.raises(NotImplementedError):
        ItemOwner().free(None)


@pytest.mark.parametrize(
    "call",
    [
        lambda backend: backend.take(Bucket(1), 1, M_NOWAIT, None),
        lambda backend: backend.give(None),
        lambda backend: backend.drain(),
        lambda backend: backend.denied(),
        lambda backend: backend.free,
        lambda backend: backend.pages,
    ],
)
def test_the_base_class_of_backends_implements_nothing(call: object) -> None:
    assert callable(call)
    with pytest.raises(NotImplementedError):
        call(Backend())


def test_who_knows_nothing_of_pages_has_nothing_to_close() -> None:
    assert Backend().close() is None


def test_an_item_is_a_part_of_a_slab(make_zone) -> None:  # type: ignore[no-untyped-def]
    zone = make_zone()
    item: Item = zone.alloc(M_NOWAIT, None)
    assert item.size == 256
    item.write(0, b"abc", 0, 3)
    assert item.read(0, 4) == b"abc\0"
    zone.free(item)
