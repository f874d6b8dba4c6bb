"""What must be so of a world at any moment."""

from typing import Any

from mbuf import (
    CSUM_SND_TAG,
    EXT_CLUSTER,
    EXT_EXTREF,
    EXT_JUMBO9,
    EXT_JUMBO16,
    EXT_JUMBOP,
    EXT_RXRING,
    M_EXT,
    M_NOFREE,
    M_PKTHDR,
    M_RDONLY,
)
from model.world import Packet, World, chain


def check(packet: Packet) -> None:
    """A packet is what it should be."""
    m, data, head = packet.m, packet.data, packet.head
    assert bytes(m) == data, f"{len(m)} bytes, and not the {len(data)} that there should be"
    assert (m.flags & M_PKTHDR != 0) == (head is not None)
    if head is not None:
        hdr = m.pkthdr
        assert not head.true or hdr.len == len(data)
        assert hdr.flowid == head.flowid
        assert hdr.rcvif is head.rcvif
        assert hdr.snd_tag is head.snd
        assert (hdr.csum_flags & CSUM_SND_TAG != 0) == (head.snd is not None)
        assert [(t.cookie, t.id, t.value) for t in m.tags] == head.tags


def audit(world: World) -> None:
    """All packets are what they should be, and all counts."""
    users: dict[int, list[Any]] = {}
    outs = listed = 0
    refs = {id(tag): world.snds.count(tag) for tag in world.snds}
    for packet in world.all():
        check(packet)
        for m in chain(packet.m):
            flags = m.flags
            outs += not flags & M_NOFREE
            if flags & M_PKTHDR:
                listed += len(m.tags)
                tag = m.pkthdr.snd_tag
                if tag is not None:
                    refs[id(tag)] = refs.get(id(tag), 0) + 1
            if flags & M_EXT:
                ext = m.ext
                assert ext is not None
                users.setdefault(ext.id, []).append((m, ext))
            else:
                assert m.writable == (not flags & M_RDONLY)
    lingering, orphans = audit_storage(world, users)
    audit_lent(world, users)
    pool, zones = world.pool, world.zones
    for look in world.views:
        assert bytes(look.view) == look.data, "what is looked at has changed"
    out = zones.mbuf.used + zones.pack.used
    held = zones.mbuf.held + zones.pack.held
    assert out == outs + lingering + held, f"{out} are out: {outs} here, {lingering} for others, {held} looked at"
    listed += len(world.tags)
    assert pool.tags.count >= listed
    if not orphans and not world.views:
        # Tags of an owner stay as long as it does.
        assert pool.tags.count == listed
    for tag in {id(tag): tag for tag in world.snds}.values():
        assert tag.refs == refs[id(tag)]
    assert pool.snd_tags.count == len(refs) == world.interface.refs
    if not world.faulty:
        drops = pool.stat().drops
        assert world.drops in (drops, None)
        world.drops = drops
    for q, line in world.queues:
        assert [*q] == [packet.m for packet in line]
        assert q.count == len(line)


def audit_storage(world: World, users: dict[int, list[Any]]) -> tuple[int, int]:
    """Each storage counts its users; returns how many owners linger for the sake of others.

    First those that are in a zone, then all.
    """
    lingering = orphans = 0
    types: dict[int, int] = {}
    for name, uses in users.items():
        ext = uses[0][1]
        lent = world.lent.get(name)
        count = len(uses) + (0 if lent is None else lent.own)
        for m, other in uses:
            assert (other.count, m.refcnt) == (count, count)
            fixed = lent is not None and isinstance(lent.obj, bytes)
            assert m.writable == (count == 1 and not fixed and not m.flags & M_RDONLY)
            if lent is not None:
                assert other.obj is lent.obj
                assert bytes(m.data) == lent.obj[m.offset : m.offset + m.len]
        embedded = sum(other.embedded for _, other in uses)
        assert embedded <= (ext.type != EXT_EXTREF)
        lingering += not embedded and ext.type not in (EXT_EXTREF, EXT_RXRING)
        orphans += not embedded and ext.type != EXT_EXTREF
        types[ext.type] = types.get(ext.type, 0) + 1
    zones = world.zones
    for type, zone in ((EXT_JUMBOP, zones.jumbop), (EXT_JUMBO9, zones.jumbo9), (EXT_JUMBO16, zones.jumbo16)):
        assert zone.used == types.get(type, 0) + zone.held
    clusters = types.get(EXT_CLUSTER, 0) + zones.clust.held
    assert zones.clust.used == clusters + zones.pack.used + zones.pack.cached
    return lingering, orphans


def audit_lent(world: World, users: dict[int, list[Any]]) -> None:
    """Memory that nobody uses is given back once, and none that somebody uses."""
    looked = {look.name for look in world.views}
    for name, lent in list(world.lent.items()):
        if name in users:
            assert lent.calls == 0
        elif name not in looked:
            assert lent.calls == (lent.routine and not lent.own)
            if lent.refs is not None:
                assert lent.refs.count == 1
            if isinstance(lent.obj, bytearray):
                lent.obj.append(0)  # which it refuses while anybody holds it in place
            del world.lent[name]
