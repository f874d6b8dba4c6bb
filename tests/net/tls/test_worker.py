"""The worker that destroys TLS sessions, in a thread or in `run`."""

import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import Freed
from mbuf.net.tls.worker import KtlsStat, KtlsWorker


class Session:
    """A session that records when it is destroyed, and its mbuf, which is freed after it."""

    def __init__(self, worker: KtlsWorker, order: list[str], then: Callable[[], object] = lambda: None) -> None:
        worker.add_session()
        self.worker = worker
        self.order = order
        self.then = then

    def destroy(self) -> None:
        self.order.append("destroyed")
        self.worker.remove_session()
        self.then()

    def free(self) -> None:
        self.order.append("freed")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mbuf ktls"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert threads() == []


def test_run_destroys_sessions_in_the_order_of_their_last_release() -> None:
    worker, order = KtlsWorker(threaded=False), []
    one, two = (Session(worker, order, lambda n=n: order.append(n)) for n in "12")  # type: ignore[misc]
    worker.enqueue((two, None))
    worker.enqueue((one, one))
    assert (worker.stat(), order) == (KtlsStat(sessions=2, destroyed=0, waiting=2), [])
    assert worker.run() == 2
    # The session first, then the mbuf.
    assert order == ["destroyed", "2", "destroyed", "1", "freed"]
    assert (worker.run(), worker.close(), worker.stat()) == (0, 0, KtlsStat(0, 2, 0))


def test_the_first_session_starts_the_thread_and_close_ends_it() -> None:
    order: list[str] = []
    with KtlsWorker() as worker:
        assert threads() == []
        sessions = [Session(worker, order) for _ in range(10)]
        assert len(threads()) == 1
        for session in sessions:
            worker.enqueue((session, session))
    assert (len(order), threads(), worker.stat()) == (20, [], KtlsStat(0, 10, 0))
    with pytest.raises(Freed, match="closed"):
        worker.add_session()
    assert worker.close() == 0


def test_a_warning_that_is_an_error_does_not_hide_the_exception_of_the_block() -> None:
    def leave(worker: KtlsWorker, error: Exception | None) -> Session:
        with warnings.catch_warnings(), worker:
            warnings.simplefilter("error")
            session = Session(worker, [])
            if error is not None:
                raise error
        return session

    with pytest.raises(ZeroDivisionError) as caught:
        leave(KtlsWorker(False), ZeroDivisionError())
    assert caught.value.__notes__ == ["TLS worker closed with 1 sessions still in use"]
    with pytest.raises(ResourceWarning, match="1 sessions"):
        leave(KtlsWorker(False), None)


@pytest.mark.parametrize("threaded", [True, False])
def test_close_warns_of_sessions_in_use_and_run_destroys_them_later(threaded: bool) -> None:
    order: list[str] = []
    worker = KtlsWorker(threaded)
    session = Session(worker, order)
    with pytest.warns(ResourceWarning, match="1 sessions still in use"):
        assert worker.close() == 1
    assert worker.close() == 1
    worker.enqueue((session, None))
    assert (worker.run(), order, worker.close()) == (1, ["destroyed"], 0)


def test_a_session_may_close_its_worker_when_it_is_destroyed() -> None:
    order: list[str] = []
    worker = KtlsWorker()
    session = Session(worker, order, worker.close)
    (thread,) = threads()
    worker.enqueue((session, None))
    thread.join(20)
    assert (order, worker.closed, worker.stat()) == (["destroyed"], True, KtlsStat(0, 1, 0))


def test_run_leaves_the_end_of_the_queue_to_the_thread() -> None:
    """A `run` at the same time finds the None that ends the thread, and puts it back."""
    order: list[str] = []
    worker = KtlsWorker(threaded=False)
    session = Session(worker, order)
    worker._queue.put((session, None))
    worker._queue.put(None)
    assert (worker.run(), worker.run(), worker._queue.qsize()) == (1, 0, 1)


def test_the_thread_of_a_dropped_worker_ends() -> None:
    worker = KtlsWorker()
    worker.add_session()
    (thread,) = threads()
    del worker
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()


def test_a_dropped_worker_drops_the_sessions_in_its_queue() -> None:
    class Deferred:
        def __del__(self) -> None:
            dropped.append(self)

    dropped: list[Any] = []
    worker = KtlsWorker(threaded=False)
    worker.enqueue((Session(worker, []), Deferred()))
    del worker
    gc.collect()
    assert len(dropped) == 1
