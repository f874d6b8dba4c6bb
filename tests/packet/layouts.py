"""Chains with the same bytes in every layout: one mbuf, clusters, many tiny mbufs, shared, read-only, unmapped pages.

Each function returns the chain, and then other chains that share its bytes.
"""

import os
from collections.abc import Callable

from mbuf import M_EXTPG, M_NOWAIT, M_PKTHDR, M_RDONLY, PAGE_SIZE, Mbuf, Pool

Build = Callable[[Pool, bytes], list[Mbuf]]


def internal(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.gethdr().append(data)]


def no_header(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.get().append(data)]


def packet(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.getcl().append(data)]


def cluster(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.clget(pool.gethdr()).append(data)]


def jumbo(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.getjcl(size=9216).append(data)]


def tiny(pool: Pool, data: bytes) -> list[Mbuf]:
    """One byte in each mbuf, and one empty mbuf between them."""
    m = last = pool.gethdr()
    for n, byte in enumerate(data):
        if n:
            last.next = pool.get()
            last = last.next
        last.append(bytes([byte]))
        if n == 1:
            last.next = pool.get()
            last = last.next
    m.pkthdr.len = len(data)
    return [m]


def shared(pool: Pool, data: bytes) -> list[Mbuf]:
    m = pool.getcl().append(data)
    return [m, m.copypacket()]


def shared_copy(pool: Pool, data: bytes) -> list[Mbuf]:
    m = pool.getcl().append(data)
    return [m.copypacket(), m]


def read_only(pool: Pool, data: bytes) -> list[Mbuf]:
    m = pool.getcl(M_NOWAIT, flags=M_PKTHDR).append(data)
    m.flags |= M_RDONLY
    return [m]


def external_bytes(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.wrap(data)]


def external_bytearray(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.wrap(bytearray(data))]


def linked(mbufs: list[Mbuf], data: bytes) -> list[Mbuf]:
    """One chain of these mbufs, with the bytes distributed evenly."""
    share = -(-len(data) // len(mbufs))
    for n, m in enumerate(mbufs):
        m.append(data[n * share : (n + 1) * share])
    for m, n in zip(mbufs, mbufs[1:], strict=False):
        m.last().next = n
    if mbufs[0].flags & M_PKTHDR:
        mbufs[0].pkthdr.len = len(data)
    return mbufs[:1]


def clusters(pool: Pool, data: bytes) -> list[Mbuf]:
    return linked([pool.getcl(), pool.clget(pool.get()), pool.getjcl(flags=0), pool.getcl(flags=0)], data)


def no_header_chain(pool: Pool, data: bytes) -> list[Mbuf]:
    """Several mbufs without a packet header."""
    return linked([pool.get(), pool.get(), pool.getcl(flags=0), pool.get()], data)


def unmapped(pool: Pool, data: bytes) -> list[Mbuf]:
    """Only unmapped pages."""
    return [pool.frombytes(data, flags=M_EXTPG, align=len(data) // 2 + 1)]


def record(pool: Pool, data: bytes) -> Mbuf:
    """An mbuf of unmapped pages that has a header, the end of a page, the start of another, and a trailer."""
    m = pool.alloc_ext_plus_pages(2 * PAGE_SIZE)
    edge = min(len(data) // 3, 7)
    epg, inner = m.epg, data[edge : len(data) - edge]
    first = max(len(inner) // 2, 1)
    epg.hdr, epg.trail = data[:edge], data[len(data) - edge :]
    epg.first_off, epg.last_len = PAGE_SIZE - first, max(len(inner) - first, 0)
    m.page(0)[epg.first_off :] = inner[:first] or b"-"
    m.page(1)[: epg.last_len] = inner[first:]
    m.len = len(data)
    return m


def header_and_unmapped(pool: Pool, data: bytes) -> list[Mbuf]:
    """An empty mbuf with a packet header, then unmapped pages."""
    m = pool.gethdr().cat(record(pool, data))
    m.fixhdr()
    return [m]


def unmapped_between(pool: Pool, data: bytes) -> list[Mbuf]:
    """Unmapped pages between mbufs, and at the end."""
    share = len(data) // 4
    m = pool.getcl().append(data[:share]).cat(pool.frombytes(data[share : 2 * share], flags=M_EXTPG))
    m.cat(pool.getcl(flags=0).append(data[2 * share : 3 * share])).cat(pool.frombytes(data[3 * share :], flags=M_EXTPG))
    m.fixhdr()
    return [m]


def unmapped_shared(pool: Pool, data: bytes) -> list[Mbuf]:
    (m,) = header_and_unmapped(pool, data)
    return [m, m.copypacket()]


def unmapped_shared_copy(pool: Pool, data: bytes) -> list[Mbuf]:
    m, n = unmapped_shared(pool, data)
    return [n, m]


def file_mbufs(pool: Pool, data: bytes, off: int) -> Mbuf:
    """Pages of a file that has no name any more. The bytes begin at `off` of the file."""
    fd = os.memfd_create("pages")
    try:
        os.write(fd, bytes(off) + data)
        with pool.file(fd) as file:
            return file.getm(off)
    finally:
        os.close(fd)


def file_between(pool: Pool, data: bytes) -> list[Mbuf]:
    """A cluster, pages of a file, and an mbuf."""
    share = len(data) // 3
    m = pool.getcl().append(data[:share]).cat(file_mbufs(pool, data[share : 2 * share], PAGE_SIZE - 10))
    m.cat(pool.get2(len(data), M_NOWAIT, flags=0).append(data[2 * share :]))
    m.fixhdr()
    return [m]


def file_shared(pool: Pool, data: bytes) -> list[Mbuf]:
    """Only pages of a file, which another chain shares."""
    m = file_mbufs(pool, data, 100)
    return [m.copym(), m]


#: The layouts with unmapped pages.
UNMAPPED: dict[str, Build] = {
    made.__name__: made
    for made in (
        *(unmapped, header_and_unmapped, unmapped_between, unmapped_shared, unmapped_shared_copy),
        *(file_between, file_shared),
    )
}
LAYOUTS: dict[str, Build] = {
    made.__name__: made
    for made in (
        *(internal, no_header, packet, cluster, jumbo, tiny, shared, shared_copy, read_only),
        *(external_bytes, external_bytearray, clusters, no_header_chain),
    )
} | UNMAPPED
