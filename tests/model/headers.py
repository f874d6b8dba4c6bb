"""What packets carry beside their bytes: headers that come and go, tags and send tags."""

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
from model.world import REFUSED, Packet, World, chain, key

# The header.


def demote(world: World, packet: Packet) -> None:
    if world.rng.random() < 0.5:
        packet.m.demote(all=False)
    elif world.rng.random() < 0.5:
        packet.m.demote(all=True)
        packet.head = None
    else:
        world.attempt(packet.m.demote_pkthdr, of=[packet], wrong=None if packet.head else Inval)
        packet.head = None


def move_pkthdr(world: World, packet: Packet) -> None:
    take_header(world, packet, packet.m.move_pkthdr, True)


def dup_pkthdr(world: World, packet: Packet) -> None:
    take_header(world, packet, packet.m.dup_pkthdr, False)


def take_header(world: World, packet: Packet, verb: Callable[[Mbuf], object], goes: bool) -> None:
    n, m = other(world, packet), packet.m
    if n is None:
        return
    wrong = Inval if n.head is None or (not m.flags & M_EXT and m.len > MHLEN) else None
    if world.attempt(verb, n.m, of=[packet, n], wrong=wrong) is REFUSED:
        return
    assert n.head is not None
    packet.head = n.head.copy()
    packet.head.true = m.pkthdr.len == len(packet.data)
    # The header may lie where bytes were.
    packet.data[: m.len] = m.copydata(0, m.len)
    if goes:
        n.head = None


def note(world: World, packet: Packet) -> None:
    """Set what a header says."""
    head, hdr = packet.head, packet.m.pkthdr if packet.head else None
    if head is not None and hdr is not None:
        hdr.flowid = head.flowid = world.rng.randint(0, 1 << 32) - 1 if world.rng.random() < 0.1 else 5
        if world.rng.random() < 0.4:
            hdr.len = world.rng.randint(0, 100)
            head.true = hdr.len == len(packet.data)
        if head.snd is None:
            hdr.rcvif = head.rcvif = world.rng.choice((None, world))


def mark(world: World, packet: Packet) -> None:
    for m in chain(packet.m):
        m.flags = m.flags | M_RDONLY if world.rng.random() < 0.2 else m.flags & ~M_RDONLY
        lent = world.lent.get(key(m))
        if lent is not None and isinstance(lent.obj, bytes):
            m.flags |= M_RDONLY


# Tags.


def tag_make(world: World, packet: Packet) -> None:
    rng = world.rng
    value = rng.choice((None, b"abc", bytearray(b"changes"), 5))
    id = rng.choice((1, 2, 1 | MTAG_PERSISTENT))
    t = world.attempt(world.pool.tag_alloc, rng.choice((MTAG_ABI_COMPAT, 7)), id, value)
    if t is not REFUSED:
        world.tags.append(t)
        if len(world.tags) > 3:
            world.tags.pop(0).free()


def tag_put(world: World, packet: Packet) -> None:
    if world.tags:
        t = world.tags[-1]
        if world.attempt(packet.m.tag_prepend, t, of=[packet], wrong=headless(packet)) is not REFUSED:
            assert packet.head is not None
            world.tags.pop()
            packet.head.tags.insert(0, (t.cookie, t.id, t.value))


def headless(packet: Packet) -> type[Exception] | None:
    return None if packet.head else Inval


def tag_take(world: World, packet: Packet) -> None:
    """Unlink, or delete: one tag, some or all."""
    rng, head = world.rng, packet.head
    if head is None or not head.tags:
        return
    m, tags = packet.m, packet.m.tags
    n = rng.randrange(len(tags))
    way = rng.randrange(5)
    if way == 0:
        m.tag_unlink(tags[n])
        world.tags.append(tags[n])
        del head.tags[n]
    elif way == 1:
        m.tag_delete(tags[n])
        del head.tags[n]
    elif way == 2:
        m.tag_delete_chain(tags[n])
        del head.tags[n:]
    elif way == 3:
        m.tag_delete_chain()
        head.tags.clear()
    else:
        m.tag_delete_nonpersistent()
        head.tags = [tag for tag in head.tags if tag[1] & MTAG_PERSISTENT]
    if way:
        stays_freed(tags[n] if way < 3 else None)


def stays_freed(t: Tag | None) -> None:
    if t is not None:
        try:
            t.copy()
        except Freed:
            return
        raise AssertionError("a freed tag answers")


def tag_find(world: World, packet: Packet) -> None:
    head, m = packet.head, packet.m
    if head is None:
        return
    tags = m.tags
    after = world.rng.randrange(-1, len(tags))
    for cookie, id in ((MTAG_ABI_COMPAT, 1), (7, 2)):
        found = m.tag_locate(cookie, id, tags[after] if after >= 0 else None)
        rest = [t for t in tags[after + 1 :] if (t.cookie, t.id) == (cookie, id)]
        assert found is (rest[0] if rest else None)
        if cookie == MTAG_ABI_COMPAT:
            assert m.tag_find(id, tags[after] if after >= 0 else None) is found


def tag_copy(world: World, packet: Packet) -> None:
    n = other(world, packet)
    if n is not None:
        wrong = headless(packet) or headless(n) or (Inval if len(packet.m.data) > 168 and not packet.m.ext else None)
        if world.attempt(packet.m.tag_copy_chain, n.m, of=[packet, n], wrong=wrong) is not REFUSED:
            assert packet.head is not None
            assert n.head is not None
            packet.head.tags = list(n.head.tags)


def snd_tag(world: World, packet: Packet) -> None:
    """Put a send tag on a packet, or take it off."""
    head = packet.head
    if head is None:
        return
    if head.snd is not None:
        packet.m.pkthdr.snd_tag = None
        head.snd = None
        return
    if len(world.snds) < 2:
        world.snds.append(world.pool.snd_tag_alloc(world.interface))
    tag = world.rng.choice(world.snds)
    packet.m.pkthdr.snd_tag = tag.ref()
    head.snd, head.rcvif = tag, None
