"""Mbufs and their bytes as text. Uses only the public properties of an mbuf, and changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf

from mbuf.const import M_EXTPG, M_PKTHDR
from mbuf.packet.flags import ext_name, flag_names, type_name

_ROW = 16
_ASCII = bytes(byte if 0x20 <= byte < 0x7F else ord(".") for byte in range(256))
#: The fields of a packet header that are shown when they are set, and how.
_FIELDS = (
    ("rcvif", "{}"),
    ("snd_tag", "{}"),
    ("flowid", "{:#x}"),
    ("csum_flags", "{:#x}"),
    ("fibnum", "{}"),
    ("numa_domain", "{}"),
    ("rsstype", "{}"),
    ("rcv_tstmp", "{}"),
    ("PH_per", "{:#x}"),
    ("PH_loc", "{:#x}"),
)


def rows(data: bytes, first: int) -> Iterator[str]:
    """Yield lines of 16 bytes each: offset (the data begins at `first`), hexadecimal, ASCII."""
    for at in range(0, len(data), _ROW):
        row = data[at : at + _ROW]
        left, right = row[: _ROW // 2].hex(" "), row[_ROW // 2 :].hex(" ")
        yield f"{first + at:08x}  {left:23}  {right:23}  |{row.translate(_ASCII).decode('ascii')}|"


def write_chain(m: Mbuf, most: int, file: TextIO | None) -> None:
    """Write some lines for each mbuf, and at most `most` bytes of data in all, to a file or standard output."""
    out = sys.stdout if file is None else file
    at = number = 0
    n: Mbuf | None = m
    while n is not None:
        out.write(f"mbuf {number}: {_summary(n)}\n")
        if n.flags & M_PKTHDR:
            out.write(f"    {_packet(n)}\n")
            for tag in n.tags:
                out.write(f"    tag {tag.id} of cookie {tag.cookie}: {tag.value!r}\n")
        shown = min(n.len, most - min(at, most))
        for row in rows(n.copydata(0, shown), at):
            out.write(f"    {row}\n")
        if shown < n.len:
            out.write(f"    {n.len - shown} more bytes\n")
        at += n.len
        number += 1
        n = n.next


def _summary(m: Mbuf) -> str:
    """Return type, flags, position of the data, and number of users of the storage."""
    ext = m.ext
    users = "" if ext is None else "1 user" if ext.count == 1 else f"{ext.count} users"
    if ext is None:
        place = f"{m.len} of {m.size} bytes at {m.offset}"
    elif m.flags & M_EXTPG:
        pages = f"{m.epg.npgs} unmapped page{'s' * (m.epg.npgs != 1)}{' of a file' * (ext.obj is not None)}"
        place = f"{m.len} bytes at {m.offset}, {pages} with {users}"
    else:
        place = f"{m.len} of {m.size} bytes at {m.offset}, {ext_name(ext.type)} with {users}"
    flags = flag_names(m.flags) if m.flags else "no flags"
    return f"{type_name(m.type)}, {flags}, {place}"


def _packet(m: Mbuf) -> str:
    """Return the fields of a packet header that aren't 0, and the length if `len` is wrong."""
    hdr = m.pkthdr
    length = m.length()
    text = f"packet of {hdr.len} bytes"
    if hdr.len != length:
        text += f" (but there are {length})"
    # (No generators: where memory runs out, Python 3.12 crashes on making one.)
    for name, form in _FIELDS:
        value = getattr(hdr, name)
        if value:
            text += f", {name} {form.format(value)}"
    if m.peer is not None:
        text += f", peer {m.peer.address}"
    return text if m.control is None else f"{text}, {m.control}"
