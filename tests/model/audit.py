"""Checks of the pool against the model, which hold after every step."""

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
from model.pool_model import Packet, PoolModel, chain


def check_packet(packet: Packet) -> None:
    """Check the bytes, header and tags of a packet."""
    m, data, head = packet.m, packet.data, packet.head
    assert bytes(m) == data, f"{len(m)} bytes, or not the expected {len(data)} bytes"
    assert (m.flags & M_PKTHDR != 0) == (head is not None)
    if head is not None:
        hdr = m.pkthdr
        assert not head.len_valid or hdr.len == len(data)
        assert hdr.flowid == head.flowid
        assert hdr.rcvif is head.rcvif
        assert hdr.snd_tag is head.snd
        assert (hdr.csum_flags & CSUM_SND_TAG != 0) == (head.snd is not None)
        assert [(t.cookie, t.id, t.value) for t in m.tags] == head.tags


def audit(model: PoolModel) -> None:
    """Check all packets, and all counters of the pool."""
    users: dict[int, list[Any]] = {}
    outs = listed = 0
    refs = {id(tag): model.snd_tags.count(tag) for tag in model.snd_tags}
    for packet in model.all():
        check_packet(packet)
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
    owners, orphans = audit_storage(model, users)
    audit_external(model, users)
    pool, zones = model.pool, model.zones
    for view in model.views:
        assert bytes(view.view) == view.data, "viewed bytes have changed"
    out = zones.mbuf.used + zones.pack.used
    held = zones.mbuf.held + zones.pack.held
    assert out == outs + owners + held, (
        f"{out} in use: {outs} in packets, {owners} freed owners of shared storage, {held} viewed"
    )
    listed += len(model.tags)
    assert pool.tags.count >= listed
    if not orphans and not model.views:
        # Tags of an owner of shared storage stay until its last user is gone.
        assert pool.tags.count == listed
    for tag in {id(tag): tag for tag in model.snd_tags}.values():
        assert tag.refs == refs[id(tag)]
    assert pool.snd_tags.count == len(refs) == model.interface.refs
    if not model.faulty:
        drops = pool.stat().drops
        assert model.drops in (drops, None)
        model.drops = drops
    for q, queued in model.queues:
        assert [*q] == [packet.m for packet in queued]
        assert q.count == len(queued)


def audit_storage(model: PoolModel, users: dict[int, list[Any]]) -> tuple[int, int]:
    """Check the reference count of each storage; returns the number of freed owners that stay for other users.

    The first number counts only owners of a zone, the second all.
    """
    owners = orphans = 0
    types: dict[int, int] = {}
    for storage, uses in users.items():
        ext = uses[0][1]
        memory = model.external.get(storage)
        count = len(uses) + (0 if memory is None else memory.other_refs)
        for m, other in uses:
            assert (other.count, m.refcnt) == (count, count)
            read_only = memory is not None and isinstance(memory.obj, bytes)
            assert m.writable == (count == 1 and not read_only and not m.flags & M_RDONLY)
            if memory is not None:
                assert other.obj is memory.obj
                assert bytes(m.data) == memory.obj[m.offset : m.offset + m.len]
        embedded = sum(other.embedded for _, other in uses)
        assert embedded <= (ext.type != EXT_EXTREF)
        owners += not embedded and ext.type not in (EXT_EXTREF, EXT_RXRING)
        orphans += not embedded and ext.type != EXT_EXTREF
        types[ext.type] = types.get(ext.type, 0) + 1
    zones = model.zones
    for type, zone in ((EXT_JUMBOP, zones.jumbop), (EXT_JUMBO9, zones.jumbo9), (EXT_JUMBO16, zones.jumbo16)):
        assert zone.used == types.get(type, 0) + zone.held
    clusters = types.get(EXT_CLUSTER, 0) + zones.clust.held
    assert zones.clust.used == clusters + zones.pack.used + zones.pack.cached
    return owners, orphans


def audit_external(model: PoolModel, users: dict[int, list[Any]]) -> None:
    """Check that unused external memory was given back once, and used memory was not."""
    viewed = {view.storage for view in model.views}
    for storage, memory in list(model.external.items()):
        if storage in users:
            assert memory.calls == 0
        elif storage not in viewed:
            assert memory.calls == (memory.has_free and not memory.other_refs)
            if memory.refs is not None:
                assert memory.refs.count == 1
            if isinstance(memory.obj, bytearray):
                memory.obj.append(0)  # raises BufferError while it is exported
            del model.external[storage]
