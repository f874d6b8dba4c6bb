"""Send tags and the interfaces that make them."""

import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from mbuf import (
    IF_SND_TAG_TYPE_MAX,
    IF_SND_TAG_TYPE_RATE_LIMIT,
    IF_SND_TAG_TYPE_TLS,
    IF_SND_TAG_TYPE_TLS_RATE_LIMIT,
    IF_SND_TAG_TYPE_UNLIMITED,
    Freed,
    Interface,
    Inval,
    NoBufs,
    NotSupported,
    SndTag,
    compiled,
)
from mbuf.packet.sndtag import SndTags

Errors = list[BaseException]


class Card(Interface):
    """An interface with send tags, which records the calls of its methods."""

    def __init__(self, tags: SndTags) -> None:
        super().__init__("em0")
        self.tags = tags
        self.seen: list[Any] = []
        self.error: BaseException | None = None

    def snd_tag_alloc(self, tags: SndTags, params: Any) -> SndTag:
        if self.error is not None:
            raise self.error
        return SndTag(tags, self, params)

    def snd_tag_free(self, tag: SndTag) -> None:
        self.seen.append(("free", tag, tag.refs, self.refs, self.tags.count))
        if self.error is not None:
            raise self.error

    def rele(self) -> None:
        super().rele()
        self.seen.append(("rele", self.refs, self.tags.count))


@pytest.fixture
def tags() -> Iterator[SndTags]:
    """Send tags, of which none may exist at the end."""
    tags = SndTags()
    yield tags
    assert tags.count == 0


@pytest.fixture
def card(tags: SndTags) -> Iterator[Card]:
    """An interface without references at the end."""
    card = Card(tags)
    yield card
    assert card.refs == 0


def test_the_types_have_the_kernels_numbers() -> None:
    kinds = IF_SND_TAG_TYPE_RATE_LIMIT, IF_SND_TAG_TYPE_UNLIMITED, IF_SND_TAG_TYPE_TLS, IF_SND_TAG_TYPE_TLS_RATE_LIMIT
    assert (*kinds, IF_SND_TAG_TYPE_MAX) == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("type", range(4))
def test_a_send_tag_begins_with_one_reference_and_holds_its_interface(tags: SndTags, card: Card, type: int) -> None:
    tag = tags.alloc(card, type)
    assert (tag.ifp, tag.type, tag.refs) == (card, type, 1)
    assert (card.refs, tags.count) == (1, 1)
    tag.rele()
    assert (tag.refs, card.refs, tags.count) == (0, 0, 0)


def test_the_last_reference_ends_it_in_the_kernels_order(tags: SndTags, card: Card) -> None:
    tag = tags.alloc(card, 0)
    assert tag.ref() is tag
    assert tag.ref().refs == 3
    tag.rele()
    tag.rele()
    assert (tag.refs, card.seen) == (1, [])
    tag.rele()
    # The driver frees it while the interface is held; the count falls last.
    assert card.seen == [("free", tag, 0, 1, 1), ("rele", 0, 1)]


def test_a_send_tag_that_ended_raises_an_error(tags: SndTags, card: Card) -> None:
    tag = tags.alloc(card, 0)
    tag.rele()
    for verb in (tag.ref, tag.rele):
        with pytest.raises(Freed, match="last reference"):
            verb()
    assert (tag.refs, card.refs, tags.count, len(card.seen)) == (0, 0, 0, 2)


def test_a_driver_cannot_revive_the_tag_that_it_frees(tags: SndTags, card: Card, unraisable: Errors) -> None:
    tag = tags.alloc(card, 0)
    card.snd_tag_free = lambda tag: tag.ref()  # type: ignore[method-assign]
    tag.rele()
    assert list(map(type, unraisable)) == [Freed]
    assert tag.refs == 0


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_what_a_driver_raises_keeps_no_tag_from_ending(
    tags: SndTags, card: Card, unraisable: Errors, error: BaseException
) -> None:
    tag = tags.alloc(card, 0)
    card.error = error
    with pytest.raises(KeyboardInterrupt) if isinstance(error, KeyboardInterrupt) else nullcontext():
        tag.rele()
    assert unraisable == ([] if isinstance(error, KeyboardInterrupt) else [error])
    assert (card.refs, tags.count) == (0, 0)


def test_an_error_of_rele_is_reported(tags: SndTags, card: Card, unraisable: Errors) -> None:
    tag = tags.alloc(card, 0)
    card.rele()
    tag.rele()
    assert list(map(type, unraisable)) == [Inval]
    assert tags.count == 0


@pytest.mark.parametrize("type", [-1, 4, 1 << 31, 1 << 64])
def test_no_send_tag_is_of_another_type(tags: SndTags, card: Card, type: int) -> None:
    with pytest.raises(Inval):
        tags.alloc(card, type)
    assert (card.refs, tags.count) == (0, 0)


def test_a_type_is_a_whole_number(tags: SndTags, card: Card) -> None:
    with pytest.raises(TypeError):
        SndTag(tags, card, 1.0)  # type: ignore[arg-type]
    assert (card.refs, tags.count) == (0, 0)


@pytest.mark.parametrize("ifp", [None, "em0", 5, Interface("lo0")])
def test_an_interface_without_send_tags_has_none(tags: SndTags, ifp: Any) -> None:
    with pytest.raises(NotSupported) as refused:
        tags.alloc(ifp, 0)
    assert repr(ifp) in str(refused.value)


@pytest.mark.parametrize(
    "error", [NoBufs("none left"), AttributeError("typo"), NotSupported("gone"), OSError(12, "no")]
)
def test_what_a_driver_refuses_with_passes_through(tags: SndTags, card: Card, error: BaseException) -> None:
    card.error = error
    with pytest.raises(type(error)) as refused:
        tags.alloc(card, 0)
    assert refused.value is error
    assert (card.refs, tags.count) == (0, 0)


def test_a_driver_that_returns_no_send_tag_is_an_error(tags: SndTags, card: Card) -> None:
    card.snd_tag_alloc = lambda tags, params: None  # type: ignore[assignment,method-assign,return-value]
    with pytest.raises(TypeError, match="isn.t a SndTag"):
        tags.alloc(card, 0)


def test_an_interface_needs_nothing_but_a_way_to_make_tags(tags: SndTags) -> None:
    class Plain:
        def snd_tag_alloc(self, tags: SndTags, params: Any) -> SndTag:
            return SndTag(tags, self, 1)

    tag = tags.alloc(Plain())
    assert tags.count == 1
    tag.rele()


def test_a_driver_may_have_its_own_kind_of_tag(tags: SndTags, card: Card) -> None:
    class Rate(SndTag):
        def __init__(self, tags: SndTags, ifp: Any, rate: int) -> None:
            super().__init__(tags, ifp, IF_SND_TAG_TYPE_RATE_LIMIT)
            self.rate = rate

    card.snd_tag_alloc = lambda tags, params: Rate(tags, card, params)  # type: ignore[method-assign]
    tag = tags.alloc(card, 125_000)
    assert isinstance(tag, Rate)
    assert tag.rate == 125_000
    tag.rele()


def test_a_tag_around_another_lets_that_go(tags: SndTags, card: Card) -> None:
    """An interface on top of another, as vlan and lagg are."""

    class Outer(SndTag):
        def __init__(self, tags: SndTags, ifp: Any, inner: SndTag) -> None:
            super().__init__(tags, ifp, inner.type)
            self.inner = inner

    class Vlan(Interface):
        def snd_tag_alloc(self, tags: SndTags, params: Any) -> SndTag:
            return Outer(tags, self, tags.alloc(card, params))

        def snd_tag_free(self, tag: Outer) -> None:
            tag.inner.rele()

    vlan = Vlan("vlan1")
    tag = tags.alloc(vlan, 2)
    assert (tag.type, tags.count, vlan.refs, card.refs) == (2, 2, 1, 1)
    tag.rele()
    assert (tags.count, vlan.refs, card.refs) == (0, 0, 0)


def test_a_count_set_to_zero_goes_on_from_there(tags: SndTags, card: Card) -> None:
    a, b = tags.alloc(card, 0), tags.alloc(card, 0)
    tags.count = 0
    a.rele()
    assert tags.count == -1
    tags.alloc(card, 0).rele()
    assert tags.count == -1
    b.rele()
    tags.count += 2


def test_a_dropped_send_tag_does_not_end(tags: SndTags, card: Card) -> None:
    tag = tags.alloc(card, 0)
    del tag
    assert (card.refs, tags.count) == (1, 1)
    card.rele()
    tags.count = 0


@pytest.mark.parametrize("way", [copy.copy, pickle.dumps])
def test_a_send_tag_is_not_copied_behind_its_references(tags: SndTags, card: Card, way: Callable[[Any], Any]) -> None:
    tag = tags.alloc(card, 0)
    with pytest.raises(TypeError, match="references"):
        way(tag)
    tag.rele()


def test_an_interface_counts_its_references() -> None:
    ifp = Interface("em1")
    ifp.ref()
    ifp.ref()
    assert repr(ifp) == "<interface 'em1' refs=2>"
    ifp.rele()
    ifp.rele()
    with pytest.raises(Inval, match="em1"):
        ifp.rele()
    assert ifp.refs == 0


def test_a_send_tag_shows_what_it_is(tags: SndTags, card: Card) -> None:
    tag = tags.alloc(card, 2)
    assert repr(tag) == "<send tag type=2 of <interface 'em0' refs=1> refs=1>"
    tag.rele()


def test_threads_count_references_right(
    tags: SndTags, card: Card, spawn: Callable[[Callable[[], object]], Any]
) -> None:
    tag = tags.alloc(card, 0)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def use() -> None:
        for _ in range(5000):
            tag.ref()
            tag.rele()

    try:
        for worker in [spawn(use) for _ in range(4)]:
            worker.done()
    finally:
        sys.setswitchinterval(before)
    assert tag.refs == 1
    tag.rele()


def test_a_send_tag_is_initialized_once(tags: SndTags, card: Card) -> None:
    tag = tags.alloc(card, 0)
    with pytest.raises(TypeError, match="can't be initialized again"):
        tag.__init__(tags, card, 1)  # type: ignore[misc]
    assert (tag.refs, tag.type, tags.count, card.refs) == (1, 0, 1, 1)
    tag.rele()


@pytest.mark.skipif(compiled(), reason="no memory can be denied to a function that is compiled")
def test_a_tag_ends_even_without_memory_for_the_report(
    tags: SndTags, card: Card, unraisable: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = tags.alloc(card, 0)

    def refuse(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("mbuf.packet.sndtag.run", refuse)
        tag.rele()
    assert (tag.refs, tags.count, card.seen, len(unraisable)) == (0, 0, [], 1)
    card.rele()
