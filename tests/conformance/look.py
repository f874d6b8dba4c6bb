"""How a chain looks, in the words of a trace: see section 4.1 of its format.

Looks only by the calls that any user has, but for what names the kernel's mbuf behind a handle.
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

#: All that is seen of an mbuf: two looks are equal when nothing that a trace tells has changed.
Look = tuple[Any, ...]


def look(m: Mbuf | None) -> list[Look]:
    """A chain as it is at this moment."""
    seen = []
    while m is not None:
        flags, following, ext = m.flags, m.nextpkt, m.ext
        seen.append(
            (
                m.id,
                m.type,
                flags,
                m.len,
                m.offset,
                None if following is None else following.id,
                None if ext is None else _pages(m, ext) if flags & M_EXTPG else _storage(ext),
                _header(m) if flags & M_PKTHDR else None,
                m.copydata(0, m.len),
            )
        )
        m = m.next
    return seen


def _storage(ext: Ext) -> Look:
    # Of a page, its number says which it is.
    what = (
        ("pgb", ext.arg1) if ext.type == EXT_SFBUF and isinstance(ext.arg1, int) and ext.obj is None else ("b", ext.id)
    )
    return (("ty", ext.type), ("sz", ext.size), ("rc", ext.count), ("em", int(ext.embedded)), what)


def _pages(m: Mbuf, ext: Ext) -> Look:
    epg = m.epg
    counts = (("np", epg.npgs), ("hl", len(epg.hdr)), ("tl", len(epg.trail)), ("pg", list(epg.pages)))
    fields = tuple([(name, getattr(epg, field)) for name, field in EPG.items()])
    return (("rc", ext.count), ("em", int(ext.embedded)), *fields, *counts)


def _header(m: Mbuf) -> Look:
    hdr, tag = m.pkthdr, m.pkthdr.snd_tag
    return (
        hdr.len,
        tuple([getattr(hdr, field) for field in HEADER.values()]),
        hdr.rcvif,
        None if tag is None else (tag.number, tag.refs),
        tuple([(t.cookie, t.id, t.len, f"{crc32(t.value):08x}") for t in m.tags]),
    )


def describe(chain: list[Look]) -> list[dict[str, Any]]:
    """A chain in the words of section 4.1."""
    return [_describe(*seen) for seen in chain]


def _describe(
    name: int, kind: int, flags: int, count: int, off: int, following: int, ext: Look, hdr: Look, data: bytes
) -> dict[str, Any]:
    said: dict[str, Any] = {"id": name, "t": kind, "f": flags, "l": count, "o": off}
    if following is not None:
        said["np"] = following
    if ext is not None:
        said["x"] = dict(ext)
    if hdr is not None:
        said["h"] = _describe_header(*hdr)
    if len(data) > 16:
        said["c"] = f"{crc32(data):08x}"
    elif data:
        said["d"] = data.hex()
    return said


def _describe_header(count: int, fields: Look, rcvif: Any, tag: Look, tags: Look) -> dict[str, Any]:
    said = {"len": count, **{name: value for name, value in zip(HEADER, fields, strict=True) if value}}
    if rcvif is not None:
        said["rcvif"] = rcvif
    if tag is not None:
        said["st"] = list(tag)
    if tags:
        said["tags"] = [list(t) for t in tags]
    return said


def flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is in nested lists and mappings, by path: `0.x.rc`."""
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
