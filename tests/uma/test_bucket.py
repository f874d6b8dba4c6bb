import pytest

from mbuf import M_NOWAIT, Inval, Vm
from mbuf.uma.audit import audit_keg
from mbuf.uma.bucket import BUCKET_MAX, Bucket, default_entries, entries_for
from mbuf.uma.keg import Keg


def test_the_largest_bucket_has_254_entries() -> None:
    assert BUCKET_MAX == 254


@pytest.mark.parametrize(
    ("size", "entries"),
    [
        (8, 254),
        (64, 254),
        (65, 126),
        (128, 126),
        (256, 62),
        (257, 30),
        (512, 30),
        (1024, 16),
        (2048, 8),
        (3072, 4),
        (4096, 2),
        (4097, 1),
        (9216, 1),
        (16384, 1),
    ],
)
def test_small_items_have_large_buckets(size: int, entries: int) -> None:
    assert default_entries(size) == entries


@pytest.mark.parametrize(
    ("count", "entries"),
    [
        (0, 2),
        (1, 2),
        (2, 2),
        (3, 4),
        (8, 8),
        (17, 30),
        (31, 62),
        (63, 126),
        (127, 254),
        (254, 254),
        (300, 254),
    ],
)
def test_buckets_come_in_eight_kinds(count: int, entries: int) -> None:
    assert entries_for(count) == entries


@pytest.mark.parametrize("entries", [0, 1, 254])
def test_a_new_bucket_is_empty(entries: int) -> None:
    bucket = Bucket(entries)
    assert (bucket.cnt, bucket.entries) == (0, entries)


def test_nothing_is_taken_from_an_empty_bucket() -> None:
    for entries in (0, 2):
        bucket = Bucket(entries)
        with pytest.raises(IndexError, match="empty"):
            bucket.pop()
        assert bucket.cnt == 0


@pytest.mark.parametrize("entries", [-1, (1 << 20) + 1])
def test_a_bucket_has_room_for_0_to_a_million(entries: int) -> None:
    with pytest.raises(Inval, match=f"a bucket of {entries} entries"):
        Bucket(entries)


def test_a_bucket_that_was_never_made_is_empty() -> None:
    bucket = Bucket.__new__(Bucket)
    with pytest.raises((IndexError, AttributeError)):
        bucket.pop()


def take(count: int) -> tuple[Keg, Bucket]:
    keg, bucket = Keg(Vm(1 << 20), "thing", 256, 255), Bucket(8)
    keg.take(bucket, count, M_NOWAIT, None)
    return keg, bucket


def test_the_item_put_in_last_comes_out_first() -> None:
    keg, bucket = take(3)
    items = [bucket.pop() for _ in range(3)]
    assert [item.offset_in_run() for item in items] == [512, 256, 0]
    for item in items:
        keg.give(item)
    audit_keg(keg)


def test_a_keg_fills_no_bucket_beyond_its_room() -> None:
    keg, bucket = take(3)
    with pytest.raises(Inval, match="room for 6 items"):
        keg.take(bucket, 6, M_NOWAIT, None)
    while bucket.cnt:
        keg.give(bucket.pop())
    assert keg.drain() == 1
