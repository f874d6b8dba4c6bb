"""VLAN tags: from the packet header into the frame.

The kernel removes the tag of a received frame, and gives it separately: the packet is M_VLANTAG then, and has the tag
in `ether_vtag`, with the TPID above it. Nobody puts it back on sending, so each port that sends Ethernet frames does,
into the packet (`encapsulate`) or between the views that it sends (`frame_views`). The other ports refuse such a packet
(`check_untagged` in `net/port/rules.py`): without its tag, it would go to another network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.const import M_VLANTAG
from mbuf.errors import Inval, MbufError
from mbuf.net.linux import ETH_P_8021Q

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf

#: Bytes of the two Ethernet addresses, and of a tag with its TPID.
ADDRESSES = 12
TAG = 4


def encapsulate(m: Mbuf) -> None:
    """Insert a frame's VLAN tag after the addresses, and clear M_VLANTAG. See ether_vlanencap in FreeBSD.

    Raises `Inval` for a frame that is too short for addresses, `NoBufs` or `NoMemory`; nothing has changed then.
    """
    tag = _tag_of(m)
    addresses = m.copydata(0, ADDRESSES)
    m.prepend(TAG)
    try:
        if m.len < ADDRESSES + TAG:
            m.pullup(ADDRESSES + TAG)
    except MbufError:
        m.adj(TAG)
        raise
    m.copyback(0, addresses + tag)
    m.flags &= ~M_VLANTAG


def frame_views(m: Mbuf) -> list[memoryview]:
    """Views of the bytes of a frame, with its VLAN tag if it is M_VLANTAG. The frame isn't changed.

    Raises `Inval` for a tagged frame that is too short for addresses.
    """
    views = list(m)
    if not m.flags & M_VLANTAG:
        return views
    tag = memoryview(_tag_of(m))
    left = ADDRESSES
    at = 0
    while len(views[at]) <= left:
        left -= len(views[at])
        at += 1
    views[at : at + 1] = [views[at][:left], tag, views[at][left:]] if left else [tag, views[at]]
    return views


def _tag_of(m: Mbuf) -> bytes:
    """The bytes of a frame's tag: TPID and number. `Inval` if the frame is too short for one."""
    if len(m) <= ADDRESSES:
        raise Inval(f"push: a frame of {len(m)} bytes has a VLAN tag (M_VLANTAG), and no Ethernet header for it")
    number = m.pkthdr.PH_per
    tpid = number >> 16 & 0xFFFF or ETH_P_8021Q
    return tpid.to_bytes(2, "big") + (number & 0xFFFF).to_bytes(2, "big")
