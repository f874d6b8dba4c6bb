import threading
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import Inval
from mbuf.uma.cpu import Cpus


@pytest.mark.parametrize("count", [0, -1, 1025, 2**64])
def test_there_are_1_to_1024_cpus(count: int) -> None:
    with pytest.raises(Inval, match="ncpu"):
        Cpus(count)
    assert (Cpus(1).count, Cpus(1024).count) == (1, 1024)


def test_a_thread_stays_on_its_cpu() -> None:
    cpus = Cpus(4)
    assert [cpus.current() for _ in range(3)] == [0, 0, 0]


def test_threads_are_given_one_cpu_after_another(spawn: Callable[[Callable[[], object]], Any]) -> None:
    cpus = Cpus(2)
    go = threading.Barrier(3)

    def current() -> int:
        cpu = cpus.current()
        # All three exist at the same time, so that their identities differ.
        go.wait(20)
        return cpu

    workers = [spawn(current) for _ in range(3)]
    assert sorted(worker.done() for worker in workers) == [0, 0, 1]


def test_a_thread_may_be_moved() -> None:
    cpus = Cpus(3)
    assert cpus.move(2) == 0
    assert cpus.current() == 2
    assert cpus.move(1) == 2


@pytest.mark.parametrize("cpu", [-1, 3, 2**64])
def test_it_cannot_be_moved_to_a_cpu_that_is_not_there(cpu: int) -> None:
    cpus = Cpus(3)
    with pytest.raises(Inval, match=f"cpu {cpu}: this pool has 3, numbered from 0"):
        cpus.move(cpu)
    assert cpus.current() == 0
