import pytest

from mbuf import Vm
from mbuf.const import PAGE_SIZE
from mbuf.uma.slab import Layout, Slab, layout


@pytest.mark.parametrize(
    ("size", "align", "cut"),
    [
        (256, 255, Layout(256, 1, 15, True)),
        (2048, 7, Layout(2048, 1, 2, False)),
        (4096, 7, Layout(4096, 1, 1, False)),
        (9216, 7, Layout(9216, 3, 1, True)),
        (16384, 7, Layout(16384, 4, 1, False)),
    ],
    ids=["mbuf", "cluster", "page", "9k", "16k"],
)
def test_the_kegs_of_mbufs_are_cut_as_the_kernel_cuts_them(size: int, align: int, cut: Layout) -> None:
    assert layout(size, align) == cut


@pytest.mark.parametrize(("size", "align", "rsize"), [(1, 7, 8), (8, 7, 8), (9, 7, 16), (100, 63, 128)])
def test_items_are_at_least_8_bytes_and_aligned(size: int, align: int, rsize: int) -> None:
    assert layout(size, align).rsize == rsize


@pytest.fixture
def slab() -> Slab:
    vm = Vm(4 * PAGE_SIZE)
    vm.take(1)
    return Slab(vm, vm.take(1), layout(256, 255))


def test_a_slab_is_its_page_and_all_of_it_is_free(slab: Slab) -> None:
    assert (slab.page, slab.count, slab.free, slab.bits) == (1, 1, 15, 0x7FFF)


def test_the_lowest_free_item_is_taken_first(slab: Slab) -> None:
    assert [slab.take() for _ in range(15)] == list(range(15))
    assert (slab.free, slab.bits) == (0, 0)
    for index in (9, 3, 14):
        assert slab.give(index)
    assert (slab.free, slab.bits) == (3, 1 << 9 | 1 << 3 | 1 << 14)
    assert [slab.take() for _ in range(3)] == [3, 9, 14]


def test_an_item_given_twice_is_told(slab: Slab) -> None:
    slab.take()
    assert slab.give(0)
    assert not slab.give(0)
    assert (slab.free, slab.bits) == (15, 0x7FFF)
