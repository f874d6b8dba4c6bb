"""Tags, and lists of them, without a packet."""

import copy
import gc
import pickle
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from mbuf import (
    M_NOWAIT,
    M_WAITOK,
    MTAG_ABI_COMPAT,
    MTAG_PERSISTENT,
    PACKET_TAG_IPFORWARD,
    PACKET_TAG_MACLABEL,
    PACKET_TAG_PF,
    Freed,
    Inval,
    NoBufs,
    Tag,
)
from mbuf.packet.tag import TagList, TagZone

JUNK = [None, 1, "tag", object()]

Errors = list[BaseException]


class FailingZone(TagZone):
    """A zone of tags that fails after so many."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        super().__init__()
        self.left = sys.maxsize

    def alloc(self, *args: Any, **words: Any) -> Tag:
        if not self.left:
            raise NoBufs("no tags are left")
        self.left -= 1
        return super().alloc(*args, **words)


@pytest.fixture
def zone() -> Iterator[FailingZone]:
    """A zone from which nothing is in use at the end."""
    zone = FailingZone()
    yield zone
    gc.collect()
    assert (zone.count, zone.bytes) == (0, 0)


@pytest.fixture
def tags(zone: FailingZone) -> Iterator[TagList]:
    """A list that is emptied at the end."""
    tags = TagList()
    yield tags
    tags.delete_chain()
    assert len(tags) == 0


def put(zone: TagZone, tags: TagList, *ids: int, cookie: int = 0, **words: Any) -> list[Tag]:
    """Add tags with these ids to the list, in this order."""
    made = [zone.alloc(cookie, id, **words) for id in ids]
    for t in reversed(made):
        tags.prepend(t)
    return made


def ids(tags: TagList) -> list[int]:
    found = [t.id for t in tags]
    assert len(found) == len(tags)
    return found


# Single tags.


@pytest.mark.parametrize(
    ("value", "len"),
    [
        (None, 0),
        (5, 0),
        ("text", 0),
        ([1, 2], 0),
        (b"", 0),
        (b"four", 4),
        (bytearray(40), 40),
        (memoryview(bytes(9)), 9),
        (memoryview(bytes(8)).cast("I"), 8),
        (bytes(65535), 65535),
    ],
)
def test_a_tag_counts_the_bytes_of_its_value(zone: TagZone, value: Any, len: int) -> None:
    t = zone.alloc(77, 3, value)
    assert (t.cookie, t.id, t.len) == (77, 3, len)
    assert t.value is value
    assert (zone.count, zone.bytes) == (1, 24 + len)
    t.free()
    assert (zone.count, zone.bytes) == (0, 0)


@pytest.mark.parametrize("how", [M_NOWAIT, M_WAITOK])
@pytest.mark.parametrize(("cookie", "id"), [(0, 0), ((1 << 32) - 1, (1 << 16) - 1)])
def test_a_tag_has_any_cookie_and_id_that_fit(zone: TagZone, cookie: int, id: int, how: int) -> None:
    t = zone.alloc(cookie, id, None, how)
    assert (t.cookie, t.id) == (cookie, id)
    t.free()


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, 1),
        (1 << 32, 1),
        (1 << 64, 1),
        (0, -1),
        (0, 1 << 16),
        (0, 1 << 63),
        (0, 1, None, 0),
        (0, 1, None, M_NOWAIT | M_WAITOK),
        (0, 1, None, 1 << 64),
        (0, 1, bytes(65536)),
        (0, 1, memoryview(bytes(65536))),
    ],
)
def test_what_no_tag_can_have_is_refused(zone: TagZone, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(Inval):
        zone.alloc(*arguments)
    assert zone.count == 0


@pytest.mark.parametrize("arguments", [(0.5, 1), (0, 1.0), ("0", 1), (0, None)])
def test_a_cookie_and_an_id_are_whole_numbers(zone: TagZone, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        zone.alloc(*arguments)
    assert zone.count == 0


def test_a_freed_tag_raises_an_error(zone: TagZone, tags: TagList) -> None:
    t = zone.alloc(77, 3, b"value")
    t.free()
    verbs: list[Callable[[], object]] = [
        t.free,
        t.copy,
        lambda: t.value,
        lambda: tags.prepend(t),
        lambda: tags.unlink(t),
        lambda: tags.delete(t),
        lambda: tags.delete_chain(t),
        lambda: tags.locate(77, 3, t),
        lambda: tags.find(3, t),
    ]
    for verb in verbs:
        with pytest.raises(Freed, match="77:3"):
            verb()
    assert (zone.count, zone.bytes) == (0, 0)


def test_the_repr_of_a_tag_shows_its_state(zone: TagZone, tags: TagList) -> None:
    t = zone.alloc(77, 3, b"value")
    assert repr(t) == "<tag 77:3 len=5 in no list>"
    tags.prepend(t)
    assert repr(t) == "<tag 77:3 len=5 listed>"
    tags.delete(t)
    assert repr(t) == "<tag 77:3 len=5 freed>"


def test_a_dropped_tag_is_freed(zone: TagZone) -> None:
    freed: list[int] = []
    t = zone.alloc(0, 1, b"x", free=lambda t: freed.append(t.id))
    assert zone.count == 1
    del t
    assert (freed, zone.count) == ([1], 0)


def test_a_tag_that_was_never_made_is_dropped_in_silence() -> None:
    with pytest.raises(TypeError):
        Tag()  # type: ignore[call-arg]
    gc.collect()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_tag_is_not_copied_behind_its_zone(zone: TagZone, way: Callable[[Any], Any]) -> None:
    t = zone.alloc(0, 1)
    with pytest.raises(TypeError, match=r"t\.copy"):
        way(t)
    t.free()


# Free routines.


@pytest.mark.parametrize("listed", [False, True])
def test_a_free_routine_is_called_once_with_the_tag(zone: TagZone, tags: TagList, listed: bool) -> None:
    freed: list[Any] = []
    t = zone.alloc(7, 9, b"bytes", M_NOWAIT, lambda t: freed.append((t, t.value, zone.count)))
    if listed:
        tags.prepend(t)
        tags.delete(t)
    else:
        t.free()
    with pytest.raises(Freed):
        t.free()
    assert freed == [(t, b"bytes", 1)]
    assert zone.count == 0
    del t
    freed.clear()
    gc.collect()
    assert freed == []


def test_what_ends_the_program_is_raised_when_all_tags_are_freed(zone: TagZone, tags: TagList) -> None:
    def fail(t: Tag) -> None:
        raise KeyboardInterrupt

    put(zone, tags, 1, 2, free=fail)
    with pytest.raises(KeyboardInterrupt):
        tags.delete_chain()
    assert (zone.count, len(tags)) == (0, 0)


def test_what_a_free_routine_raises_harms_nothing(zone: TagZone, tags: TagList, unraisable: Errors) -> None:
    def fail(t: Tag) -> None:
        raise ValueError(f"tag {t.id}")

    put(zone, tags, 1, 2, free=fail)
    tags.delete_chain()
    assert list(map(str, unraisable)) == ["tag 2", "tag 1"]
    assert (zone.count, len(tags)) == (0, 0)
    zone.alloc(0, 3, free=fail)
    assert list(map(str, unraisable[2:])) == ["tag 3"]


def test_a_free_routine_can_free_and_list_its_tag_no_more(zone: TagZone, tags: TagList, unraisable: Errors) -> None:
    kept = zone.alloc(0, 1, b"x", free=lambda t: t.free())
    kept.free()
    kept = zone.alloc(0, 2, b"x", free=tags.prepend)
    kept.free()
    assert [str(error).split(":")[0] for error in unraisable] == ["the tag 0", "the tag 0"]
    assert (len(tags), zone.count) == (0, 0)


def test_a_free_routine_may_copy_its_tag(zone: TagZone, tags: TagList) -> None:
    t = zone.alloc(0, 1, b"x", free=lambda t: tags.prepend(t.copy()))
    t.free()
    assert [(t.id, t.value) for t in tags] == [(1, b"x")]


# Copies.


def test_a_copy_of_a_bytearray_is_another_one(zone: TagZone) -> None:
    t = zone.alloc(77, 3, bytearray(b"bytes"))
    n = t.copy()
    assert (n.cookie, n.id, n.len, n.value) == (77, 3, 5, b"bytes")
    assert type(n.value) is bytearray
    n.value[0] = 0
    assert t.value == b"bytes"
    assert (zone.count, zone.bytes) == (2, 58)
    n.free()
    t.free()


@pytest.mark.parametrize("value", [None, b"bytes", memoryview(b"view"), [1], {"key": 2}])
def test_a_copy_shares_any_other_value(zone: TagZone, value: Any) -> None:
    t = zone.alloc(77, 3, value)
    n = t.copy(M_WAITOK)
    assert n.value is value
    assert n.len == t.len
    n.free()
    t.free()


def test_the_copy_of_a_listed_tag_is_in_no_list_and_has_no_routine(zone: TagZone, tags: TagList) -> None:
    freed: list[int] = []
    (t,) = put(zone, tags, 5, free=lambda t: freed.append(t.id))
    n = t.copy()
    assert ids(tags) == [5]
    n.free()
    assert freed == []
    tags.delete(t)
    assert freed == [5]


def test_a_copy_that_fails_leaves_nothing(zone: FailingZone) -> None:
    t = zone.alloc(0, 1, bytearray(5))
    zone.left = 0
    with pytest.raises(NoBufs):
        t.copy()
    assert (zone.count, zone.bytes) == (1, 29)
    zone.left = 1
    with pytest.raises(Inval):
        t.copy(0)
    t.free()


# Lists.


def test_the_tag_put_last_is_first(zone: TagZone, tags: TagList) -> None:
    for id in (1, 2, 3):
        tags.prepend(zone.alloc(0, id))
    assert ids(tags) == [3, 2, 1]


@pytest.mark.parametrize("where", range(4))
def test_an_unlinked_tag_is_the_callers(zone: TagZone, tags: TagList, where: int) -> None:
    made = put(zone, tags, 1, 2, 3, 4)
    t = made.pop(where)
    tags.unlink(t)
    assert list(tags) == made
    assert zone.count == 4
    tags.prepend(t)
    assert list(tags) == [t, *made]
    tags.unlink(t)
    t.free()


def test_a_tag_in_a_list_cannot_be_freed(zone: TagZone, tags: TagList) -> None:
    (t,) = put(zone, tags, 1)
    with pytest.raises(Inval, match="tag_unlink or m.tag_delete"):
        t.free()
    assert (ids(tags), zone.count) == ([1], 1)


def test_a_tag_is_in_one_list_at_a_time(zone: TagZone, tags: TagList) -> None:
    (t,) = put(zone, tags, 1)
    other = TagList()
    for taker in (tags, other):
        with pytest.raises(Inval, match="already"):
            taker.prepend(t)
    tags.unlink(t)
    other.prepend(t)
    assert (ids(tags), ids(other)) == ([], [1])


@pytest.mark.parametrize("elsewhere", [False, True], ids=["detached", "in another list"])
def test_only_its_own_tags_are_a_lists_to_change(zone: TagZone, tags: TagList, elsewhere: bool) -> None:
    other = TagList()
    t = zone.alloc(0, 1)
    put(zone, tags, 1)
    if elsewhere:
        other.prepend(t)
    verbs: list[Callable[[], object]] = [
        lambda: tags.unlink(t),
        lambda: tags.delete(t),
        lambda: tags.delete_chain(t),
        lambda: tags.locate(0, 1, t),
        lambda: tags.find(1, t),
    ]
    for verb in verbs:
        with pytest.raises(Inval, match="isn't on this packet"):
            verb()
    assert (len(tags), len(other), zone.count) == (1, elsewhere, 2)


@pytest.mark.parametrize("junk", JUNK)
def test_only_tags_are_listed(tags: TagList, junk: Any) -> None:
    for verb in (tags.prepend, tags.unlink, tags.delete):
        with pytest.raises(Inval, match="not a tag"):
            verb(junk)


@pytest.mark.parametrize("junk", JUNK[1:])
def test_a_search_starts_and_a_deletion_ends_at_a_tag(tags: TagList, junk: Any) -> None:
    verbs: list[Callable[[Any], object]] = [tags.delete_chain, lambda t: tags.find(1, t)]
    for verb in verbs:
        with pytest.raises(Inval, match="not a tag"):
            verb(junk)


def test_tags_may_be_changed_while_they_are_gone_through(zone: TagZone, tags: TagList) -> None:
    put(zone, tags, 1, 2, 3, 4)
    for t in tags:
        tags.delete(t)
        if t.id < 3:
            put(zone, tags, 10 + t.id)
    assert ids(tags) == [12, 11]


def test_delete_chain_deletes_what_is_after_a_tag_in_order_and_then_the_tag(zone: TagZone, tags: TagList) -> None:
    freed: list[int] = []
    made = put(zone, tags, 1, 2, 3, 4, 5, free=lambda t: freed.append(t.id))
    tags.delete_chain(made[2])
    assert (freed, ids(tags)) == ([4, 5, 3], [1, 2])
    tags.delete_chain()
    assert (freed, ids(tags)) == ([4, 5, 3, 2, 1], [])
    tags.delete_chain()
    assert zone.count == 0


def test_delete_nonpersistent_keeps_the_persistent(zone: TagZone, tags: TagList) -> None:
    freed: list[int] = []
    put(
        zone,
        tags,
        PACKET_TAG_IPFORWARD,
        PACKET_TAG_PF,
        2,
        3,
        PACKET_TAG_MACLABEL,
        5,
        free=lambda t: freed.append(t.id),
    )
    tags.delete_nonpersistent()
    assert (freed, ids(tags)) == ([18, 2, 3, 5], [PACKET_TAG_PF, PACKET_TAG_MACLABEL])
    assert PACKET_TAG_PF & PACKET_TAG_MACLABEL & MTAG_PERSISTENT
    tags.delete_nonpersistent()
    assert len(tags) == 2


@pytest.mark.parametrize("verb", [TagList.delete_chain, TagList.delete_nonpersistent])
def test_a_free_routine_may_change_the_list_that_its_tag_was_in(
    zone: TagZone, tags: TagList, verb: Callable[[TagList], None]
) -> None:
    """A free routine may unlink, delete and add tags of the list."""
    random = Random(9)
    other = TagList()

    def mingle(_: Tag) -> None:
        t = random.choice([None, *tags])
        if t is None:
            put(zone, tags, 99 | MTAG_PERSISTENT)
        elif random.random() < 0.5:
            tags.delete(t)
        else:
            tags.unlink(t)
            other.prepend(t)

    for _ in range(200):
        put(zone, tags, *range(9), free=mingle)
        verb(tags)
        assert set(ids(tags)) <= {99 | MTAG_PERSISTENT}
        assert zone.count == len(tags) + len(other)
        tags.delete_chain()
    while len(other):
        other.delete_chain()


def test_find_looks_after_a_tag_or_from_the_head(zone: TagZone, tags: TagList) -> None:
    assert tags.find(1) is None
    a, b, c, d = put(zone, tags, 1, 2, 1, 3)
    assert tags.find(1) is a
    assert tags.find(1, a) is c
    assert tags.find(1, c) is None
    assert tags.find(2, b) is None
    assert tags.find(3) is d
    assert tags.find(4) is None
    assert tags.find(1 << 70) is None


def test_what_is_not_a_number_is_looked_for_nowhere(zone: TagZone, tags: TagList) -> None:
    tags.prepend(zone.alloc(1, 0))
    for junk in (None, "1", 1.0):
        for find in (lambda junk=junk: tags.locate(junk, 1), lambda junk=junk: tags.locate(0, junk)):
            with pytest.raises(TypeError):
                find()
        with pytest.raises(TypeError):
            tags.find(junk)
    assert tags.find(1 << 70) is tags.locate(-1, 1) is None


def test_locate_needs_the_cookie_too(zone: TagZone, tags: TagList) -> None:
    (theirs,) = put(zone, tags, 1, cookie=4_000_000_000)
    (ours,) = put(zone, tags, 1)
    assert tags.locate(MTAG_ABI_COMPAT, 1) is tags.find(1) is ours
    assert tags.locate(4_000_000_000, 1) is theirs
    assert tags.locate(4_000_000_000, 1, ours) is theirs
    assert tags.locate(MTAG_ABI_COMPAT, 1, theirs) is tags.find(1, ours) is None
    assert tags.locate(5, 1) is tags.locate(4_000_000_000, 2) is None


def test_a_copied_list_has_copies_in_the_same_order(zone: TagZone, tags: TagList) -> None:
    put(zone, tags, 1, 2, 3, value=bytearray(b"abc"))
    copied = tags.copy()
    assert ids(copied) == ids(tags) == [1, 2, 3]
    assert [t.value for t in copied] == [b"abc"] * 3
    assert zone.count == 6
    assert not set(copied) & set(tags)
    tags.delete_chain()
    assert ids(copied) == [1, 2, 3]
    del copied
    assert zone.count == 0


def test_an_empty_list_is_copied(zone: TagZone, tags: TagList) -> None:
    assert len(tags.copy(M_WAITOK)) == 0


@pytest.mark.parametrize("left", range(4))
def test_a_list_is_copied_whole_or_not_at_all(zone: FailingZone, tags: TagList, left: int) -> None:
    put(zone, tags, 1, 2, 3, 4)
    zone.left = left
    # While the error is held, too.
    try:
        tags.copy()
    except NoBufs:
        assert zone.count == 4
    else:
        pytest.fail("there was enough")
    assert ids(tags) == [1, 2, 3, 4]


def test_a_dropped_list_deletes_its_tags(zone: TagZone) -> None:
    freed: list[int] = []
    tags = TagList()
    made = put(zone, tags, 1, 2, 3, free=lambda t: freed.append(t.id))
    del tags
    assert (freed, zone.count) == ([2, 3, 1], 0)
    with pytest.raises(Freed):
        made[0].copy()


def test_a_list_in_a_cycle_is_collected_with_its_tags(zone: TagZone) -> None:
    freed: list[int] = []
    tags = TagList()
    put(zone, tags, 1, 2, value=[tags], free=lambda t: freed.append(t.id))
    del tags
    gc.collect()
    assert (sorted(freed), zone.count) == ([1, 2], 0)


def test_a_long_list_takes_no_longer_for_each_tag(zone: TagZone) -> None:
    """Otherwise this test would time out."""
    tags = TagList()
    made = [zone.alloc(0, 1) for _ in range(200_000)]
    for t in made:
        tags.prepend(t)
    for t in made[:60_000]:
        tags.delete(t)
    for _ in range(60_000):
        first = tags.find(1)
        assert first is not None
        tags.delete(first)
    found = tags.find(1)
    for _ in range(20_000):
        found = tags.find(1, found)
    assert len(tags) == zone.count == 80_000
    del made, t, first, found
    del tags
    assert zone.count == 0


def test_any_sequence_of_verbs_equals_a_list(zone: TagZone, tags: TagList) -> None:
    random = Random(5)
    model: list[Tag] = []
    unlisted: list[Tag] = []
    for _ in range(3000):
        verb = random.randrange(8)
        t = random.choice(model) if model else None
        if verb < 3:
            n = (
                unlisted.pop()
                if unlisted
                else zone.alloc(random.randrange(2), random.choice([1, 2, 1 | MTAG_PERSISTENT]))
            )
            tags.prepend(n)
            model.insert(0, n)
        elif verb == 3 and t is not None:
            tags.unlink(t)
            model.remove(t)
            unlisted.append(t)
        elif verb == 4 and t is not None:
            tags.delete(t)
            model.remove(t)
        elif verb == 5 and random.random() < 0.1:
            tags.delete_chain(t)
            del model[model.index(t) if t is not None else 0 :]
        elif verb == 6 and random.random() < 0.1:
            tags.delete_nonpersistent()
            model = [t for t in model if t.id & MTAG_PERSISTENT]
        else:
            after = model[model.index(t) + 1 :] if t is not None else model
            expected = next((n for n in after if (n.cookie, n.id) == (1, 2)), None)
            assert tags.locate(1, 2, t) is expected
        assert list(tags) == model
        assert len(tags) == len(model)
        assert zone.count == len(model) + len(unlisted)
