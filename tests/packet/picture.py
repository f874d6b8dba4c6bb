"""All that can be seen of chains, and of the pool that they came from: to find that nothing has changed."""

from typing import Any

from mbuf import M_EXTPG, M_PKTHDR, Interface, Mbuf, Pool, SndTag
from mbuf.packet.sndtag import SndTags

FIELDS = ("len", "flowid", "csum_flags", "fibnum", "numa_domain", "rsstype", "rcv_tstmp", "PH_per", "PH_loc")
EPG = ("hdr", "trail", "so", "pages", "seqno", "enc_cnt", "ext_size", "first_off", "last_len", "nrdy", "flags")


class Card(Interface):
    """An interface with send tags."""

    def snd_tag_alloc(self, tags: SndTags, params: Any) -> SndTag:
        return SndTag(tags, self, 0)


def adorn(pool: Pool, m: Mbuf, sender: bool = False) -> None:
    """Give a packet something of all that a header can have: of interface and send tag, only one."""
    hdr = m.pkthdr
    for n, field in enumerate(FIELDS[3:], 3):
        setattr(hdr, field, n)
    hdr.flowid, hdr.csum_flags = 7, 0x0F
    for id, value in ((3, None), (5, bytearray(b"five"))):
        m.tag_prepend(pool.tag_get(id, value))
    if sender:
        hdr.snd_tag = pool.snd_tag_alloc(Card("em0"))
    else:
        hdr.rcvif = "em1"


def mbufs(m: Mbuf | None) -> list[Mbuf]:
    """Every mbuf of a chain."""
    found = []
    while m is not None:
        found.append(m)
        m = m.next
    return found


def lens(m: Mbuf | None) -> list[int]:
    return [n.len for n in mbufs(m)]


def places(m: Mbuf | None) -> list[tuple[int, int]]:
    """Offset and length of every mbuf of a chain."""
    return [(n.offset, n.len) for n in mbufs(m)]


def header(m: Mbuf) -> Any:
    """What a packet header says; None for an mbuf that has none."""
    if not m.flags & M_PKTHDR:
        return None
    hdr, tag = m.pkthdr, m.pkthdr.snd_tag
    fields = [getattr(hdr, field) for field in FIELDS]
    tags = [(id(t), t.cookie, t.id, bytes(t.value or b"")) for t in m.tags]
    return fields, hdr.rcvif, tags, tag and (id(tag), tag.refs)


def epg(m: Mbuf) -> Any:
    """What an mbuf of unmapped pages knows of itself; None for any other."""
    if not m.flags & M_EXTPG:
        return None
    return [getattr(m.epg, name) for name in EPG]


def one(m: Mbuf) -> Any:
    """What one mbuf is."""
    who = (id(m), m.id, id(m.next), id(m.nextpkt))
    # No view of the bytes: uncompiled, one that is gone would still change the way in which storage goes home.
    return who, m.offset, m.len, m.flags, m.type, m.size, m.ext, epg(m), header(m), m.copydata(0, m.len)


def counts(pool: Pool) -> Any:
    """What is out; clusters in cached packets are as free as those in their own zone."""
    zones = pool.zones
    used = {zone.name: (zone.used, zone.held) for zone in zones.all()}
    used[zones.clust.name] = (zones.clust.used - zones.pack.cached, zones.clust.held)
    used["pages"] = (pool.pages.used, pool.pages.held)
    used["windows"] = (pool.sfbufs.used, 0)
    return used, pool.stat().drops, pool.tags.count, pool.tags.bytes, pool.snd_tags.count


def picture(pool: Pool, *chains: Mbuf) -> Any:
    """Everything that a failing verb must leave as it was."""
    return [[one(m) for m in mbufs(chain)] for chain in chains], counts(pool)
