"""Chains of one byte an mbuf."""

from mbuf import M_PKTHDR, Mbuf

#: What is added to the name of a way to build a chain: each byte has an mbuf of its own there.
BYTES = "+bytes"


def split(m: Mbuf) -> Mbuf:
    """Give each byte of a chain an mbuf of its own, which shares the storage that the byte lies in.

    The first mbuf keeps its handle, header and storage; bytes that can't be shared are copied.
    """
    pieces = [m.copym(at, 1) for at in range(min(m.len, 1), len(m))]
    rest = m.next
    m.next = None
    if rest is not None:
        rest.freem()
    if m.len > 1:
        m.adj(1 - m.len)
    last = m
    for piece in pieces:
        assert piece is not None
        if piece.flags & M_PKTHDR:
            piece.demote_pkthdr()
        last.next = piece
        last = piece.last()
    if m.flags & M_PKTHDR:
        m.fixhdr()
    return m
