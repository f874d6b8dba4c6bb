"""`insert`, `remove` and `unlink`."""

from collections.abc import Callable

import pytest

from chains import lens, sample
from mbuf import M_PKTHDR, Inval, Mbuf, Pool
from packet.verb_cases import chain

DATA = sample(50)


def right(m: Mbuf, data: bytes) -> None:
    """Check the bytes of a chain, and the length in its header."""
    assert bytes(m) == data
    assert m.sanity()


def test_a_chain_put_in_is_after_that_byte(pool: Pool, build: Callable[[bytes], Mbuf]) -> None:
    for off in (0, 1, 2, 25, 49, 50):
        m = build(DATA)
        n = pool.gethdr().append(b"a new")
        n.cat(pool.getcl(flags=0).append(b" chain"))
        n.fixhdr()
        m.insert(off, n)
        right(m, DATA[:off] + b"a new chain" + DATA[off:])
        assert not n.flags & M_PKTHDR


def test_bytes_taken_out_are_there_no_more(build: Callable[[bytes], Mbuf]) -> None:
    for off, size in ((0, 0), (0, 1), (0, 20), (10, 1), (10, 30), (20, 30), (49, 1), (50, 0), (0, 50)):
        m = build(DATA)
        m.remove(off, size)
        right(m, DATA[:off] + DATA[off + size :])


def test_what_shares_the_bytes_keeps_those_that_are_taken_out(pool: Pool) -> None:
    m = chain(pool, 300, 300)
    n = m.copypacket()
    m.remove(100, 50)
    m.remove(240, 20)
    data = sample(600)
    right(m, data[:100] + data[150:290] + data[310:])
    right(n, data)
    m.freem()
    n.freem()


def test_bytes_that_are_not_there_cannot_be_taken_out(pool: Pool) -> None:
    m = chain(pool, 30, 30)
    for off, size in ((-1, 2), (2, -1), (0, 61), (60, 1), (1 << 62, 1)):
        with pytest.raises(Inval):
            m.remove(off, size)
    with pool.get() as n, pytest.raises(Inval, match="insert"):
        m.insert(61, n)
    right(m, sample(60))
    m.freem()


def test_an_mbuf_taken_out_of_its_chain_has_its_bytes_to_itself(pool: Pool) -> None:
    m = chain(pool, 10, 20, 30)
    middle = m.next
    m.unlink(middle)
    assert (lens(m), lens(middle)) == ([10, 30], [20])
    right(m, sample(60)[:10] + sample(60)[30:])
    end = m.next
    m.unlink(end)
    assert (lens(m), lens(end), len(m)) == ([10], [30], 10)
    for n in (m, middle, end):
        n.free()


def test_an_mbuf_is_taken_out_of_a_chain_without_a_header(pool: Pool) -> None:
    m = pool.get().append(b"head")
    n = m.next = pool.get().append(b"tail")
    m.unlink(n)
    assert (bytes(m), bytes(n), n.next) == (b"head", b"tail", None)
    m.free()
    n.free()


def test_an_mbuf_that_is_not_in_the_chain_cannot_be_taken_out(pool: Pool) -> None:
    m, other = chain(pool, 10, 20), chain(pool, 5, 5)
    for n in (m, other, other.next):
        with pytest.raises(Inval, match="unlink"):
            m.unlink(n)
    assert (lens(m), lens(other)) == ([10, 20], [5, 5])
    m.freem()
    other.freem()


def test_a_chain_of_several_mbufs_is_followed_by_the_rest(pool: Pool) -> None:
    m, n = chain(pool, 10, 20), chain(pool, 5, 6, 7)
    m.insert(10, n)
    assert lens(m) == [10, 5, 6, 7, 20]
    right(m, sample(30)[:10] + sample(18) + sample(30)[10:])
    m.freem()
