"""`wrap`, tags and send tags of a pool; packet/test_build.py tests mbufs that are built from bytes."""

import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from mbuf import (
    EXT_MOD_TYPE,
    IF_SND_TAG_TYPE_RATE_LIMIT,
    M_RDONLY,
    M_WAITOK,
    Interface,
    Inval,
    Mbuf,
    NoBufs,
    NotSupported,
    Pool,
    SndTag,
    Tag,
)
from mbuf.packet.sndtag import SndTags

BAD = [2**31, 2**32, 2**63, 2**64, -1, -(2**63) - 1]
NO_NUMBER = [1.5, None, "1"]


class Card(Interface):
    def snd_tag_alloc(self, tags: SndTags, params: Any) -> SndTag:
        return SndTag(tags, self, params)


# wrap.


def test_a_wrapped_object_is_a_packet(pool: Pool) -> None:
    memory = bytearray(b"in place")
    m = pool.wrap(memory)
    assert (bytes(m), m.len, m.size, m.pkthdr.len, m.offset) == (b"in place", 8, 8, 8, 0)
    assert m.ext is not None
    assert (m.ext.type, m.ext.obj is memory, m.refcnt, m.writable) == (EXT_MOD_TYPE, True, 1, True)
    m.pack("2s", 0, b"IN")
    assert memory == b"IN place"
    m.freem()
    memory.append(1)


def test_a_wrapped_bytes_object_is_read_only(pool: Pool) -> None:
    m = pool.wrap(b"in place")
    assert (bytes(m), m.writable, m.flags & M_RDONLY) == (b"in place", False, 0)
    m.freem()


def test_nothing_wrapped_is_an_empty_packet(pool: Pool) -> None:
    calls: list[Any] = []
    m = pool.wrap(b"", calls.append)
    assert (m.len, m.pkthdr.len, m.size, bytes(m)) == (0, 0, 0, b"")
    m.freem()
    assert calls == [b""]


def test_on_free_is_called_once_with_the_object(pool: Pool) -> None:
    memory, calls = bytearray(b"in place"), []

    def on_free(thing: Any) -> None:
        thing.append(1)
        calls.append(thing)

    m = pool.wrap(memory, on_free)
    n = m.copypacket()
    view = n.data
    m.freem()
    n.freem()
    assert calls == []
    view.release()
    assert (len(calls), calls[0] is memory) == (1, True)


def test_on_free_is_not_called_for_what_was_detached(pool: Pool) -> None:
    memory, calls = bytearray(b"in place"), []
    m = pool.wrap(memory, calls.append)
    assert m.detach() is memory
    assert (m.len, m.pkthdr.len) == (0, 0)
    m.freem()
    assert calls == []


def test_what_on_free_raises_is_reported(pool: Pool, unraisable: list[BaseException]) -> None:
    pool.wrap(bytearray(1), lambda thing: thing[5]).freem()
    assert list(map(type, unraisable)) == [IndexError]


@pytest.mark.parametrize("on_free", [1, "free", b"", ()])
def test_on_free_can_be_called(pool: Pool, on_free: Any) -> None:
    with pytest.raises(Inval, match="on_free"):
        pool.wrap(bytearray(1), on_free)
    assert pool.out == 0


@pytest.mark.parametrize("thing", [None, 1, "text", memoryview(bytes(10))[::2]])
def test_what_has_no_bytes_in_a_row_is_not_wrapped(pool: Pool, thing: Any) -> None:
    with pytest.raises((TypeError, BufferError)):
        pool.wrap(thing)
    assert pool.out == 0


def test_wrap_needs_one_mbuf_and_fails_without(small: Callable[..., Pool]) -> None:
    pool, held, memory = small(), [], bytearray(1)
    with suppress(NoBufs):
        while True:
            held.append(pool.get())
    with pytest.raises(NoBufs):
        pool.wrap(memory, held.append)
    memory.append(1)
    assert all(isinstance(m, Mbuf) for m in held)
    while held:
        held.pop().free()


def test_a_mapped_file_is_a_packet_without_a_copy(make: Callable[..., Pool], tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 256)
    pool = make()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        m = pool.wrap(memory)
        m.adj(65536 - 256)
        n = m.split(128)
        assert n is not None
        assert (bytes(m), bytes(n), m.writable) == (bytes(range(128)), bytes(range(128, 256)), False)
        with pytest.raises(BufferError):
            memory.close()
        m.freem()
        n.freem()


# Tags.


def test_a_tag_of_the_pool_is_counted_there(pool: Pool) -> None:
    t, u = pool.tag_alloc(7, 3, b"four"), pool.tag_get(5, how=M_WAITOK)
    assert isinstance(t, Tag)
    assert (t.cookie, t.id, t.value, t.len) == (7, 3, b"four", 4)
    assert (u.cookie, u.id, u.value, u.len) == (0, 5, None, 0)
    assert (pool.tags.count, pool.tags.bytes, pool.stat().tag_bytes) == (2, 52, 52)
    t.free()
    del u
    assert (pool.tags.count, pool.tags.bytes) == (0, 0)


@pytest.mark.parametrize("value", BAD)
def test_a_tag_has_a_cookie_of_32_bits_and_an_id_of_16(pool: Pool, value: int) -> None:
    if value != 2**31:
        with pytest.raises(Inval, match="cookie"):
            pool.tag_alloc(value, 1)
    for ask in (lambda: pool.tag_alloc(1, value), lambda: pool.tag_get(value), lambda: pool.tag_get(1, how=value)):
        with pytest.raises(Inval):
            ask()
    assert pool.tags.count == 0


@pytest.mark.parametrize("value", NO_NUMBER)
def test_a_tag_is_requested_with_numbers(pool: Pool, value: Any) -> None:
    for ask in (
        lambda: pool.tag_alloc(value, 1),
        lambda: pool.tag_alloc(1, value),
        lambda: pool.tag_get(value),
        lambda: pool.tag_get(1, how=value),
    ):
        with pytest.raises((TypeError, Inval)):
            ask()
    assert pool.tags.count == 0


# Send tags.


def test_a_send_tag_of_the_pool_is_counted_there(pool: Pool) -> None:
    card = Card("em0")
    tag = pool.snd_tag_alloc(card, IF_SND_TAG_TYPE_RATE_LIMIT)
    assert (tag.ifp is card, tag.refs, card.refs, pool.snd_tags.count) == (True, 1, 1, 1)
    m = pool.gethdr()
    m.pkthdr.snd_tag = tag
    m.freem()
    assert (tag.refs, card.refs, pool.snd_tags.count) == (0, 0, 0)


@pytest.mark.parametrize("ifp", [None, "em0", Interface("lo0")])
def test_an_interface_without_send_tags_raises_an_error(pool: Pool, ifp: Any) -> None:
    with pytest.raises(NotSupported):
        pool.snd_tag_alloc(ifp)
    assert pool.snd_tags.count == 0


def test_what_an_interface_raises_is_passed_on(pool: Pool) -> None:
    class Broken(Interface):
        def snd_tag_alloc(self, tags: SndTags, params: Any) -> SndTag:
            raise KeyError(params)

    with pytest.raises(KeyError, match="7"):
        pool.snd_tag_alloc(Broken(), 7)
    assert pool.snd_tags.count == 0


def test_every_pool_counts_its_own(make: Callable[..., Pool]) -> None:
    pool, other = make(), make()
    t, tag = pool.tag_get(1), pool.snd_tag_alloc(Card(), 0)
    assert (other.tags.count, other.snd_tags.count) == (0, 0)
    t.free()
    tag.rele()


# Objects that a user makes without a pool never crash the interpreter.

NONSENSE = """
import gc, inspect, importlib, pkgutil, sys
import mbuf
arguments = [(), (None,), (None,) * 2, (None,) * 3, (None,) * 4, (-1,), (2**63,), (1.5, 1.5), (b"x", 1, None, None),
             (0, 0, 0), (object(), -1, 2**70), (object(),) * 6]
sys.unraisablehook = lambda event: None
def attempt(fn, *words):
    try:
        return fn(*words)
    except Exception:
        return None
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for what, kind in list(vars(module).items()):
        if not inspect.isclass(kind) or kind.__module__ != name or issubclass(kind, BaseException):
            continue
        made = [attempt(kind, *words) for words in arguments] + [attempt(kind.__new__, kind)]
        for thing in [*made, attempt(kind.__new__, kind)]:
            if thing is None:
                continue
            for words in arguments[:6]:
                attempt(thing.__init__, *words)
            for verb in dir(kind):
                if verb.startswith("__") and verb not in ("__len__", "__iter__", "__bytes__", "__repr__", "__del__"):
                    continue
                if verb in WAITS:
                    continue
                found = attempt(getattr, thing, verb)
                if callable(found):
                    for words in arguments:
                        attempt(found, *words)
            attempt(memoryview, thing)
        del made, thing
gc.collect()
print("alive")
"""


@pytest.mark.parametrize(
    "modules",
    [
        ("vm.buffer_export", "vm.page", "vm.scan"),
        ("uma.item", "uma.slab", "uma.bucket", "uma.cache"),
        ("pool.packets", "pool.zones"),
        ("pool.stock", "pool.reserve", "pool.allocator", "pool.pool"),
        ("packet.ext", "packet.external", "packet.cluster", "packet.unmapped", "packet.pages", "packet.mapped"),
        ("packet.tag", "packet.sndtag", "packet.pkthdr", "packet.source", "packet.record"),
        ("packet.queue", "packet.sockbuf", "packet.streambuf", "packet.deferred_free"),
        ("packet.segment", "packet.chain", "packet.header", "packet.plan", "packet.mbuf"),
    ],
    ids=lambda modules: modules[0],
)
def test_objects_made_with_wrong_arguments_crash_nothing(modules: tuple[str, ...]) -> None:
    program = NONSENSE.replace("WAITS", "('wait',)")
    done = subprocess.run(
        [sys.executable, "-c", program, *(f"mbuf.{module}" for module in modules)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    # (Uncompiled, all fields can be set, and a blank mbuf that is said to be live prints itself.)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["alive"]), done.stderr[-2000:]
