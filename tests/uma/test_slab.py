"""The division of slabs into items; test_keg.py tests how kegs use slabs."""

import pytest

from mbuf.uma.slab import Layout, layout


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
