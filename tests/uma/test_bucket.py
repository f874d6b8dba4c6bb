import pytest

from mbuf.uma.bucket import BUCKET_MAX, Bucket, default_entries, entries_for


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
    assert (bucket.cnt, bucket.entries, bucket.items()) == (0, entries, [])


def test_nothing_is_taken_from_an_empty_bucket() -> None:
    for entries in (0, 2):
        bucket = Bucket(entries)
        with pytest.raises(IndexError, match="empty"):
            bucket.pop()
        assert (bucket.cnt, bucket.items()) == (0, [])
