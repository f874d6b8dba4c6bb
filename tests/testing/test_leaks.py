"""`leaks` says what is out of a pool, how many, and where it was allocated."""

import pytest

from mbuf import Inval, Pool
from mbuf.testing import leaks


@pytest.mark.parametrize("debug", [False, True])
def test_nothing_out_is_no_text(debug):
    with Pool("16M", debug=debug, worker=False) as pool:
        pool.getcl().freem()
        assert leaks(pool) == ""
    assert leaks(pool) == ""


def test_each_place_is_a_line_with_a_number(mbuf_pool):
    kept = [mbuf_pool.getcl() for _ in range(3)]
    kept.append(mbuf_pool.get())
    first, most, least = leaks(mbuf_pool).splitlines()
    assert first == "4 mbufs are out:"
    assert most.startswith("  3 allocated at ")
    assert least.startswith("  1 allocated at ")
    assert "test_leaks.py" in most
    mbuf_pool.free_bulk(kept)


def test_without_debug_the_text_says_how_to_see_the_places():
    with Pool("16M", worker=False) as pool:
        m = pool.get()
        assert leaks(pool).splitlines() == [
            "1 mbuf is out:",
            "  make the pool with debug=True to see where they were allocated",
        ]
        m.free()


@pytest.mark.parametrize("name", ["get", "getcl", "getjcl"])
def test_a_view_of_a_freed_mbuf_is_told(mbuf_pool, name):
    m = getattr(mbuf_pool, name)()
    view = m.room
    m.freem()
    assert (
        leaks(mbuf_pool).splitlines()[-1]
        == "1 buffer is freed, but still viewed: release each memoryview of their bytes"
    )
    view.release()
    assert leaks(mbuf_pool) == ""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_only_garbage_is_no_leak():
    with Pool("16M", worker=False) as pool:
        cycle = [pool.get()]
        cycle.append(cycle)
        del cycle
        assert leaks(pool) == ""


def test_other_objects_are_refused():
    with pytest.raises(Inval, match="give a Pool, not int"):
        leaks(1)
