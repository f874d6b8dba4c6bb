"""Where TLS sessions end: a thread that starts with the first of them, or by hand."""

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import Freed
from mbuf.net.tls.worker import KtlsStat, KtlsWorker


class Session:
    """One of a worker's."""

    def __init__(self, worker: KtlsWorker, order: list[str], then: Callable[[], object] = lambda: None) -> None:
        worker.enter()
        self.worker = worker
        self.order = order
        self.then = then

    def destroy(self) -> None:
        self.order.append("destroyed")
        self.worker.leave()
        self.then()

    def free(self) -> None:
        self.order.append("freed")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mbuf ktls"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert threads() == []


def test_by_hand_sessions_end_in_the_order_in_which_they_were_let_go_of() -> None:
    worker, order = KtlsWorker(by_hand=True), []
    one, two = (Session(worker, order, lambda n=n: order.append(n)) for n in "12")  # type: ignore[misc]
    worker.enqueue((two, None))
    worker.enqueue((one, one))
    assert (worker.stat(), order) == (KtlsStat(sessions=2, destroyed=0, waiting=2), [])
    assert worker.run() == 2
    # The session first, then what is left of the mbuf.
    assert order == ["destroyed", "2", "destroyed", "1", "freed"]
    assert (worker.run(), worker.close(), worker.stat()) == (0, 0, KtlsStat(0, 2, 0))


def test_the_first_session_starts_the_thread_and_close_ends_it_when_all_is_done() -> None:
    order: list[str] = []
    with KtlsWorker() as worker:
        assert threads() == []
        sessions = [Session(worker, order) for _ in range(10)]
        assert len(threads()) == 1
        for session in sessions:
            worker.enqueue((session, session))
    assert (len(order), threads(), worker.stat()) == (20, [], KtlsStat(0, 10, 0))
    with pytest.raises(Freed, match="closed"):
        worker.enter()
    assert worker.close() == 0


@pytest.mark.parametrize("by_hand", [False, True])
def test_closed_too_early_it_says_so_and_goes_on_by_hand(by_hand: bool) -> None:
    order: list[str] = []
    worker = KtlsWorker(by_hand)
    session = Session(worker, order)
    with pytest.warns(ResourceWarning, match="1 sessions still in use"):
        assert worker.close() == 1
    assert worker.close() == 1
    worker.enqueue((session, None))
    assert (worker.run(), order, worker.close()) == (1, ["destroyed"], 0)


def test_what_a_session_calls_in_the_end_may_close_the_worker() -> None:
    order: list[str] = []
    worker = KtlsWorker()
    session = Session(worker, order, worker.close)
    (thread,) = threads()
    worker.enqueue((session, None))
    thread.join(20)
    assert (order, worker.closed, worker.stat()) == (["destroyed"], True, KtlsStat(0, 1, 0))


def test_what_ends_the_thread_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works by hand at the same time finds the end, and puts it back."""
    order: list[str] = []
    worker = KtlsWorker(by_hand=True)
    session = Session(worker, order)
    worker._tasks.put((session, None))
    worker._tasks.put(None)
    assert (worker.run(), worker.run(), worker._tasks.qsize()) == (1, 0, 1)


def test_the_thread_of_a_worker_that_nobody_holds_ends() -> None:
    worker = KtlsWorker()
    worker.enter()
    (thread,) = threads()
    del worker
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()


def test_sessions_that_nobody_ends_go_with_their_worker() -> None:
    class Remains:
        def __del__(self) -> None:
            gone.append(self)

    gone: list[Any] = []
    worker = KtlsWorker(by_hand=True)
    worker.enqueue((Session(worker, []), Remains()))
    del worker
    gc.collect()
    assert len(gone) == 1
