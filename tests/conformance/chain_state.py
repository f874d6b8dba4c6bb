"""The state of a chain, and its description in a trace: see section 4.1 of the format.

Only public methods are used.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any
from zlib import crc32

from mbuf import EXT_SFBUF, M_EXTPG, M_PKTHDR, Ext, Mbuf

#: Fields of a packet header, by their names in traces; `len`, `rcvif`, `st` and `tags` have rules of their own.
HEADER = {
    "flowid": "flowid",
    "csum": "csum_flags",
    "fib": "fibnum",
    "rss": "rsstype",
    "numa": "numa_domain",
    "ts": "rcv_tstmp",
    "per": "PH_per",
    "loc": "PH_loc",
}

#: Fields of an mbuf of unmapped pages that are numbers, by their names in traces.
EPG = {"sz": "ext_size", "nr": "nrdy", "fo": "first_off", "ll": "last_len", "fl": "flags"}

#: The state of an mbuf. Two are equal if no field of a trace differs.
MbufState = tuple[Any, ...]


def chain_state(m: Mbuf | None) -> list[MbufState]:
    """The state of each mbuf of a chain now."""
    states = []
    while m is not None:
        flags, nextpkt, ext = m.flags, m.nextpkt, m.ext
        states.append(
            (
                m.id,
                m.type,
                flags,
                m.len,
                m.offset,
                None if nextpkt is None else nextpkt.id,
                None if ext is None else _pages(m, ext) if flags & M_EXTPG else _storage(ext),
                _header(m) if flags & M_PKTHDR else None,
                m.copydata(0, m.len),
            )
        )
        m = m.next
    return states


def _storage(ext: Ext) -> MbufState:
    # A mapped page is identified by its number.
    identity = (
        ("pgb", ext.arg1) if ext.type == EXT_SFBUF and isinstance(ext.arg1, int) and ext.obj is None else ("b", ext.id)
    )
    return (("ty", ext.type), ("sz", ext.size), ("rc", ext.count), ("em", int(ext.embedded)), identity)


def _pages(m: Mbuf, ext: Ext) -> MbufState:
    epg = m.epg
    counts = (("np", epg.npgs), ("hl", len(epg.hdr)), ("tl", len(epg.trail)), ("pg", list(epg.pages)))
    fields = tuple([(name, getattr(epg, field)) for name, field in EPG.items()])
    return (("rc", ext.count), ("em", int(ext.embedded)), *fields, *counts)


def _header(m: Mbuf) -> MbufState:
    hdr, tag = m.pkthdr, m.pkthdr.snd_tag
    return (
        hdr.len,
        tuple([getattr(hdr, field) for field in HEADER.values()]),
        hdr.rcvif,
        None if tag is None else (tag.number, tag.refs),
        tuple([(t.cookie, t.id, t.len, f"{crc32(t.value):08x}") for t in m.tags]),
    )


def describe(chain: list[MbufState]) -> list[dict[str, Any]]:
    """The description of a chain as in section 4.1."""
    return [_describe(*state) for state in chain]


def _describe(
    number: int,
    kind: int,
    flags: int,
    count: int,
    off: int,
    nextpkt: int,
    ext: MbufState,
    hdr: MbufState,
    data: bytes,
) -> dict[str, Any]:
    described: dict[str, Any] = {"id": number, "t": kind, "f": flags, "l": count, "o": off}
    if nextpkt is not None:
        described["np"] = nextpkt
    if ext is not None:
        described["x"] = dict(ext)
    if hdr is not None:
        described["h"] = _describe_header(*hdr)
    if len(data) > 16:
        described["c"] = f"{crc32(data):08x}"
    elif data:
        described["d"] = data.hex()
    return described


def _describe_header(count: int, fields: MbufState, rcvif: Any, tag: MbufState, tags: MbufState) -> dict[str, Any]:
    described = {"len": count, **{name: value for name, value in zip(HEADER, fields, strict=True) if value}}
    if rcvif is not None:
        described["rcvif"] = rcvif
    if tag is not None:
        described["st"] = list(tag)
    if tags:
        described["tags"] = [list(t) for t in tags]
    return described


def flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values in nested lists and mappings by path, for example `0.x.rc`."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(f"{path}.{key}" if path else str(key), inner)
    else:
        yield path, value


@cache
def pat(seed: int, count: int) -> bytes:
    """The byte pattern of section 2."""
    x = (seed * 2654435761 + 12345) & 0xFFFFFFFF
    data = bytearray()
    for _ in range(count):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        data.append(x >> 16 & 255)
    return bytes(data)
