"""Verbs on packet headers, tags and send tags."""

from collections.abc import Callable

from mbuf import (
    M_EXT,
    M_RDONLY,
    MHLEN,
    MTAG_ABI_COMPAT,
    MTAG_PERSISTENT,
    Freed,
    Inval,
    Mbuf,
    Tag,
)
from model.choose import other
from model.pool_model import FAILED, Packet, PoolModel, chain, storage_id

# The header.


def demote(model: PoolModel, packet: Packet) -> None:
    if model.rng.random() < 0.5:
        packet.m.demote(all=False)
    elif model.rng.random() < 0.5:
        packet.m.demote(all=True)
        packet.head = None
    else:
        model.attempt(packet.m.demote_pkthdr, packets=[packet], error=None if packet.head else Inval)
        packet.head = None


def move_pkthdr(model: PoolModel, packet: Packet) -> None:
    take_header(model, packet, packet.m.move_pkthdr, True)


def dup_pkthdr(model: PoolModel, packet: Packet) -> None:
    take_header(model, packet, packet.m.dup_pkthdr, False)


def take_header(model: PoolModel, packet: Packet, verb: Callable[[Mbuf], object], moved: bool) -> None:
    n, m = other(model, packet), packet.m
    if n is None:
        return
    error = Inval if n.head is None or (not m.flags & M_EXT and m.len > MHLEN) else None
    if model.attempt(verb, n.m, packets=[packet, n], error=error) is FAILED:
        return
    assert n.head is not None
    packet.head = n.head.copy()
    packet.head.len_valid = m.pkthdr.len == len(packet.data)
    # The header may overwrite bytes of the internal storage.
    packet.data[: m.len] = m.copydata(0, m.len)
    if moved:
        n.head = None


def set_fields(model: PoolModel, packet: Packet) -> None:
    """Set fields of a header."""
    head, hdr = packet.head, packet.m.pkthdr if packet.head else None
    if head is not None and hdr is not None:
        hdr.flowid = head.flowid = model.rng.randint(0, 1 << 32) - 1 if model.rng.random() < 0.1 else 5
        if model.rng.random() < 0.4:
            hdr.len = model.rng.randint(0, 100)
            head.len_valid = hdr.len == len(packet.data)
        if head.snd is None:
            hdr.rcvif = head.rcvif = model.rng.choice((None, model))


def set_rdonly(model: PoolModel, packet: Packet) -> None:
    for m in chain(packet.m):
        m.flags = m.flags | M_RDONLY if model.rng.random() < 0.2 else m.flags & ~M_RDONLY
        memory = model.external.get(storage_id(m))
        if memory is not None and isinstance(memory.obj, bytes):
            m.flags |= M_RDONLY


# Tags.


def tag_make(model: PoolModel, packet: Packet) -> None:
    rng = model.rng
    value = rng.choice((None, b"abc", bytearray(b"changes"), 5))
    id = rng.choice((1, 2, 1 | MTAG_PERSISTENT))
    t = model.attempt(model.pool.tag_alloc, rng.choice((MTAG_ABI_COMPAT, 7)), id, value)
    if t is not FAILED:
        model.tags.append(t)
        if len(model.tags) > 3:
            model.tags.pop(0).free()


def tag_put(model: PoolModel, packet: Packet) -> None:
    if model.tags:
        t = model.tags[-1]
        if model.attempt(packet.m.tag_prepend, t, packets=[packet], error=needs_header(packet)) is not FAILED:
            assert packet.head is not None
            model.tags.pop()
            packet.head.tags.insert(0, (t.cookie, t.id, t.value))


def needs_header(packet: Packet) -> type[Exception] | None:
    return None if packet.head else Inval


def tag_take(model: PoolModel, packet: Packet) -> None:
    """Unlink a tag, or delete one, some or all."""
    rng, head = model.rng, packet.head
    if head is None or not head.tags:
        return
    m, tags = packet.m, packet.m.tags
    n = rng.randrange(len(tags))
    method = rng.randrange(5)
    if method == 0:
        m.tag_unlink(tags[n])
        model.tags.append(tags[n])
        del head.tags[n]
    elif method == 1:
        m.tag_delete(tags[n])
        del head.tags[n]
    elif method == 2:
        m.tag_delete_chain(tags[n])
        del head.tags[n:]
    elif method == 3:
        m.tag_delete_chain()
        head.tags.clear()
    else:
        m.tag_delete_nonpersistent()
        head.tags = [tag for tag in head.tags if tag[1] & MTAG_PERSISTENT]
    if method:
        check_freed(tags[n] if method < 3 else None)


def check_freed(t: Tag | None) -> None:
    if t is not None:
        try:
            t.copy()
        except Freed:
            return
        raise AssertionError("a freed tag can be copied")


def tag_find(model: PoolModel, packet: Packet) -> None:
    head, m = packet.head, packet.m
    if head is None:
        return
    tags = m.tags
    after = model.rng.randrange(-1, len(tags))
    for cookie, id in ((MTAG_ABI_COMPAT, 1), (7, 2)):
        found = m.tag_locate(cookie, id, tags[after] if after >= 0 else None)
        rest = [t for t in tags[after + 1 :] if (t.cookie, t.id) == (cookie, id)]
        assert found is (rest[0] if rest else None)
        if cookie == MTAG_ABI_COMPAT:
            assert m.tag_find(id, tags[after] if after >= 0 else None) is found


def tag_copy(model: PoolModel, packet: Packet) -> None:
    n = other(model, packet)
    if n is not None:
        error = (
            needs_header(packet)
            or needs_header(n)
            or (Inval if len(packet.m.data) > 168 and not packet.m.ext else None)
        )
        if model.attempt(packet.m.tag_copy_chain, n.m, packets=[packet, n], error=error) is not FAILED:
            assert packet.head is not None
            assert n.head is not None
            packet.head.tags = list(n.head.tags)


def snd_tag(model: PoolModel, packet: Packet) -> None:
    """Set a send tag, or clear it."""
    head = packet.head
    if head is None:
        return
    if head.snd is not None:
        packet.m.pkthdr.snd_tag = None
        head.snd = None
        return
    if len(model.snd_tags) < 2:
        model.snd_tags.append(model.pool.snd_tag_alloc(model.interface))
    tag = model.rng.choice(model.snd_tags)
    packet.m.pkthdr.snd_tag = tag.ref()
    head.snd, head.rcvif = tag, None
