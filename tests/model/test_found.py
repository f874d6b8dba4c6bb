"""What walks have found, each in as few steps as show it."""

from collections.abc import Callable

import pytest

from mbuf import Mbuf, Pool


def test_no_bytes_fit_between_those_that_cannot_be_written(pool: Pool) -> None:
    m = pool.wrap(b"for reading only")
    assert m.makespace(4, 0) == (m, 4)
    assert bytes(m) == b"for reading only"
    m.freem()


@pytest.mark.parametrize(
    "copy",
    [Mbuf.copypacket, Mbuf.copym, Mbuf.defrag, lambda m: m.dup_pkthdr(m.nextpkt)],
    ids=["packet", "m", "de", "dup"],
)
def test_a_header_whose_len_has_gone_below_0_can_be_copied(pool: Pool, copy: Callable[[Mbuf], Mbuf]) -> None:
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


def test_tags_of_an_owner_go_when_the_last_user_gives_the_memory_back(pool: Pool) -> None:
    memory = bytearray(b"abc")
    m = pool.wrap(memory)
    m.tag_prepend(pool.tag_get(1))
    n = pool.get().dupcl(m)
    m.free()
    assert pool.tags.count == 1  # for the sake of the other, the owner stays as it was
    assert n.detach() is memory
    assert pool.tags.count == 0
    n.free()
