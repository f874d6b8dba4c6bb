"""VLAN tags, out of packet headers into frames.

Who receives a frame without its tag has it in the header: M_VLANTAG, and the tag in `ether_vtag`, below its TPID.
Where nobody puts it back for us, that is done here, before the frame is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.const import M_VLANTAG
from mbuf.errors import MbufError
from mbuf.net.linux import ETH_P_8021Q

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf

#: Bytes of the two addresses, and of a tag with its TPID.
ADDRESSES = 12
TAG = 4


def encapsulate(m: Mbuf) -> None:
    """Put a frame's tag behind its addresses; the frame isn't M_VLANTAG any more. See ether_vlanencap.

    A frame without addresses stays as it is. Raises `NoBufs`, and then nothing has changed.
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
