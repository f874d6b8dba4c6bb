"""VLAN tags: from the packet header into the frame.

The kernel removes the tag of a received frame, and gives it separately: the packet is M_VLANTAG then, and has the tag
in `ether_vtag`, with the TPID above it. A packet socket doesn't put it back on sending, so this is done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.const import M_VLANTAG
from mbuf.errors import MbufError
from mbuf.net.linux import ETH_P_8021Q

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf

#: Bytes of the two Ethernet addresses, and of a tag with its TPID.
ADDRESSES = 12
TAG = 4


def encapsulate(m: Mbuf) -> None:
    """Insert a frame's VLAN tag after the addresses, and clear M_VLANTAG. See ether_vlanencap in FreeBSD.

    A frame that is too short for addresses isn't changed. Raises `NoBufs` or `NoMemory`; nothing has changed then.
    """
    if len(m) < ADDRESSES:
        return
    number = m.pkthdr.PH_per
    tpid = number >> 16 & 0xFFFF or ETH_P_8021Q
    addresses = m.copydata(0, ADDRESSES)
    m.prepend(TAG)
    try:
        if m.len < ADDRESSES + TAG:
            m.pullup(ADDRESSES + TAG)
    except MbufError:
        m.adj(TAG)
        raise
    m.copyback(0, addresses + tpid.to_bytes(2, "big") + (number & 0xFFFF).to_bytes(2, "big"))
    m.flags &= ~M_VLANTAG
