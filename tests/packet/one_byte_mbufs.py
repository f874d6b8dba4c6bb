"""Chains with one byte in each mbuf."""

from mbuf import M_PKTHDR, Mbuf

#: Added to the name of a layout: each byte is in an mbuf of its own.
SUFFIX = "+bytes"


def one_byte_mbufs(m: Mbuf) -> Mbuf:
    """Put each byte of a chain into an mbuf of its own, which shares the byte's storage.

    The first mbuf keeps its handle, header and storage. Bytes that can't be shared are copied.
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
