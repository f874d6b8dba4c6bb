"""Snapshots of chains and of their pool: two are equal if nothing has changed."""

from typing import Any

from chains import mbufs
from interfaces import SndTagInterface
from mbuf import M_EXTPG, M_PKTHDR, Mbuf, Pool

FIELDS = ("len", "flowid", "csum_flags", "fibnum", "numa_domain", "rsstype", "rcv_tstmp", "PH_per", "PH_loc")
EPG = ("hdr", "trail", "so", "pages", "seqno", "enc_cnt", "ext_size", "first_off", "last_len", "nrdy", "flags")


def fill_header(pool: Pool, m: Mbuf, sender: bool = False) -> None:
    """Set every field of a packet header, and add two tags. With `sender` it has a send tag, else an interface."""
    hdr = m.pkthdr
    for n, field in enumerate(FIELDS[3:], 3):
        setattr(hdr, field, n)
    hdr.flowid, hdr.csum_flags = 7, 0x0F
    for id, value in ((3, None), (5, bytearray(b"five"))):
        m.tag_prepend(pool.tag_get(id, value))
    if sender:
        hdr.snd_tag = pool.snd_tag_alloc(SndTagInterface("em0"))
    else:
        hdr.rcvif = "em1"


def offsets_and_lens(m: Mbuf | None) -> list[tuple[int, int]]:
    """Offset and length of every mbuf of a chain."""
    return [(n.offset, n.len) for n in mbufs(m)]


def header_state(m: Mbuf) -> Any:
    """The fields, interface, tags and send tag of a packet header; None for an mbuf without one."""
    if not m.flags & M_PKTHDR:
        return None
    hdr, tag = m.pkthdr, m.pkthdr.snd_tag
    fields = [getattr(hdr, field) for field in FIELDS]
    tags = [(id(t), t.cookie, t.id, bytes(t.value or b"")) for t in m.tags]
    return fields, hdr.rcvif, tags, tag and (id(tag), tag.refs)


def epg_state(m: Mbuf) -> Any:
    """The fields of an mbuf of unmapped pages; None for any other."""
    if not m.flags & M_EXTPG:
        return None
    return [getattr(m.epg, name) for name in EPG]


def mbuf_state(m: Mbuf) -> Any:
    """Everything about one mbuf."""
    identity = (id(m), m.id, id(m.next), id(m.nextpkt))
    # The bytes are copied: uncompiled, a view would change how the storage is freed, even after it was released.
    fields = (m.offset, m.len, m.flags, m.type, m.size, m.ext)
    return identity, fields, epg_state(m), header_state(m), m.copydata(0, m.len)


def pool_counts(pool: Pool) -> Any:
    """What is in use. A cluster of a cached packet counts as free."""
    zones = pool.zones
    used = {zone.name: (zone.used, zone.held) for zone in zones.all()}
    used[zones.clust.name] = (zones.clust.used - zones.pack.cached, zones.clust.held)
    used["pages"] = (pool.pages.used, pool.pages.held)
    used["windows"] = (pool.sfbufs.used, 0)
    return used, pool.stat().drops, pool.tags.count, pool.tags.bytes, pool.snd_tags.count


def snapshot(pool: Pool, *chains: Mbuf) -> Any:
    """Everything that a failing verb must not change."""
    return [[mbuf_state(m) for m in mbufs(chain)] for chain in chains], pool_counts(pool)
