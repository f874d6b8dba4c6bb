"""Faults that random walks have found, each in as few steps as possible."""

from collections.abc import Callable

import pytest

from mbuf import Mbuf, Pool


def test_makespace_of_0_bytes_works_in_read_only_storage(pool: Pool) -> None:
    m = pool.wrap(b"for reading only")
    assert m.makespace(4, 0) == (m, 4)
    assert bytes(m) == b"for reading only"
    m.freem()


@pytest.mark.parametrize(
    "copy",
    [Mbuf.copypacket, Mbuf.copym, Mbuf.defrag, lambda m: m.dup_pkthdr(m.nextpkt)],
    ids=["packet", "m", "de", "dup"],
)
def test_a_header_with_a_negative_len_can_be_copied(pool: Pool, copy: Callable[[Mbuf], Mbuf]) -> None:
    m = pool.gethdr().append(b"abc")
    m.pkthdr.len = 1
    m.adj(2)
    assert m.pkthdr.len == -1
    m.nextpkt = m.copypacket()
    assert m.nextpkt.pkthdr.len == -1
    n = copy(m)
    m.nextpkt.freem()
    m.nextpkt = None
    if n is not m:
        n.freem()
    m.freem()


def test_detach_by_the_last_user_frees_the_tags_of_the_owner(pool: Pool) -> None:
    memory = bytearray(b"abc")
    m = pool.wrap(memory)
    m.tag_prepend(pool.tag_get(1))
    n = pool.get().dupcl(m)
    m.free()
    assert pool.tags.count == 1  # the owner stays until the last user is gone
    assert n.detach() is memory
    assert pool.tags.count == 0
    n.free()
