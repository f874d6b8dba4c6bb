"""Single pages."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import M_NOWAIT, M_WAITOK, PAGE_SIZE, Inval, NoMemory, Vm
from mbuf.uma.pages import Pages

Make = Callable[[int], tuple[Pages, Vm]]


@pytest.fixture
def make_pages() -> Iterator[Make]:
    """Makes `Pages` with so many pages, which must all be free at the end."""
    made: list[tuple[Pages, Vm]] = []

    def make(count: int) -> tuple[Pages, Vm]:
        vm = Vm(count * PAGE_SIZE)
        made.append((Pages(vm), vm))
        return made[-1]

    yield make
    for pages, vm in made:
        assert (pages.used, pages.held, vm.used) == (0, 0, 0)


def test_a_page_is_a_page_of_memory_that_can_be_written(make_pages: Make) -> None:
    pages, vm = make_pages(4)
    page = pages.alloc(M_NOWAIT, None)
    assert (page.size, pages.used, vm.used) == (PAGE_SIZE, 1, 1)
    page.write(PAGE_SIZE - 3, b"end", 0, 3)
    assert page.read(PAGE_SIZE - 3, 3) == b"end"
    pages.free(page)


def test_none_is_kept(make_pages: Make) -> None:
    pages, vm = make_pages(4)
    taken: list[Any] = [pages.alloc(M_NOWAIT, None) for _ in range(3)]
    assert len({page.run.page for page in taken}) == 3
    for left, page in zip((2, 1, 0), taken, strict=True):
        pages.free(page)
        assert (pages.used, vm.used) == (left, left)


def test_freed_twice_a_page_is_freed_once(make_pages: Make) -> None:
    pages, _ = make_pages(2)
    page = pages.alloc(M_NOWAIT, None)
    pages.free(page)
    pages.free(page)
    other, vm = make_pages(2)
    stranger = other.alloc(M_NOWAIT, None)
    pages.free(stranger)
    assert (pages.used, other.used, vm.used) == (0, 1, 1)
    other.free(stranger)


def test_when_pages_are_out_there_is_not_a_memory(make_pages: Make) -> None:
    pages, vm = make_pages(2)
    taken = [pages.alloc(M_NOWAIT, None) for _ in range(2)]
    with pytest.raises(NoMemory):
        pages.alloc(M_NOWAIT, None)
    with pytest.raises(NoMemory):
        pages.alloc(M_WAITOK, 0.0)
    assert vm.used == 2
    for page in taken:
        pages.free(page)


def test_who_may_wait_gets_the_page_that_comes_free(make_pages: Make, spawn: Any, eventually: Any) -> None:
    pages, _ = make_pages(1)
    page = pages.alloc(M_NOWAIT, None)
    waiter = spawn(lambda: pages.alloc(M_WAITOK, None))
    eventually(lambda: len(pages.keg._waiters))
    pages.free(page)
    pages.free(waiter.done())


def test_who_waits_when_the_supply_closes_is_reported(make_pages: Make, spawn: Any, eventually: Any) -> None:
    pages, _ = make_pages(1)
    page = pages.alloc(M_NOWAIT, None)
    waiter = spawn(lambda: pages.alloc(M_WAITOK, None))
    eventually(lambda: len(pages.keg._waiters))
    pages.close()
    with pytest.raises(NoMemory):
        waiter.done()
    with pytest.raises(Inval, match="closed"):
        pages.alloc(M_NOWAIT, None)
    pages.free(page)
