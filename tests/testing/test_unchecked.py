"""`put` writes only within the storage of its mbuf."""

import pytest

from mbuf import Freed, Inval
from mbuf.testing.unchecked import put


def test_put_writes_at_any_offset_of_the_storage(mbuf_pool):
    with mbuf_pool.gethdr() as m:
        put(m, 160, b"12345678")
        assert (m.offset, m.len, m.trailing, bytes(m.data)) == (160, 8, 0, b"12345678")
        put(m, 0, b"")
        assert (m.offset, m.len) == (0, 0)


def test_put_writes_to_shared_storage(mbuf_pool):
    with mbuf_pool.getcl() as m:
        put(m, 2040, b"12345678")
        with m.copypacket() as n:
            put(m, 2041, b"abc")
            assert not m.writable
            assert bytes(n.data) == b"1abc5678"


@pytest.mark.parametrize(("off", "data"), [(-1, b""), (161, b"12345678"), (169, b""), (1 << 62, b"1")])
def test_put_outside_of_the_storage_is_an_error(mbuf_pool, off, data):
    with mbuf_pool.gethdr() as m:
        with pytest.raises(Inval, match="storage has 168"):
            put(m, off, data)
        assert (m.offset, m.len) == (0, 0)


def test_put_into_no_mbuf_is_an_error(mbuf_pool):
    m = mbuf_pool.get()
    m.free()
    with pytest.raises(Freed):
        put(m, 0, b"")
    with pytest.raises(Inval, match="no mbuf"):
        put(None, 0, b"")
