"""Where TLS sessions end: not where their last record is freed, but here, a little later.

Takes what was let go of, in the order in which it was; destroys the session, then sends the mbuf home. In a
thread of its own, or by hand. To hand something over takes no lock, so a finalizer may.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from mbuf.errors import Freed
from mbuf.vm.lock import Lock


class Ending(Protocol):
    """A session, as the worker knows it."""

    def destroy(self) -> None:
        """End; nobody refers to it any more."""


#: A session whose last reference was let go of, and what is left of the mbuf that had it, if one did.
Task = tuple[Ending, Any]


@dataclass(frozen=True)
class KtlsStat:
    """What a worker has seen."""

    #: Sessions that were made and not destroyed yet.
    sessions: int
    #: Sessions destroyed.
    destroyed: int
    #: Sessions whose last reference is gone, and which wait to be destroyed.
    waiting: int


class KtlsWorker:
    """Destroys TLS sessions. See ktls_enqueue_to_free.

    The first session starts its thread; `by_hand`, there is none, and sessions end when `run` is called. Close it
    with `close`, or use it in a `with` statement, when the sessions' packets are freed. In a child of a fork, its copy
    has no thread until the next session is made; `run` and `close` end those that wait.
    """

    __slots__ = ("_destroyed", "_lock", "_made", "_tasks", "_thread", "by_hand", "closed")

    def __init__(self, by_hand: bool = False) -> None:
        #: True when only `run` destroys sessions.
        self.by_hand = by_hand
        #: True when it takes no new session any more.
        self.closed = False
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = Lock()
        self._made = 0
        self._destroyed = 0

    def enter(self) -> None:
        """A session more will end here."""
        with self._lock:
            if self.closed:
                raise Freed("this TLS worker was closed: make another one")
            # In a child of a fork there is none that lives.
            if not self.by_hand and (self._thread is None or not self._thread.is_alive()):
                # It knows the queue alone, so that a worker that nobody holds goes.
                thread = threading.Thread(target=_serve, args=(self._tasks,), name="mbuf ktls", daemon=True)
                thread.start()
                self._thread = thread
            self._made += 1

    def leave(self) -> None:
        """A session is no more."""
        with self._lock:
            self._destroyed += 1

    def enqueue(self, task: Task) -> None:
        """Take over what has nobody else any more; returns at once."""
        self._tasks.put(task)

    def run(self) -> int:
        """Destroy the sessions that wait for it; returns how many did."""
        done = 0
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return done
            if task is None:
                # For the thread, not for us.
                self._tasks.put(None)
                return done
            _finish(task)
            done += 1

    def stat(self) -> KtlsStat:
        """Its numbers."""
        return KtlsStat(self._made - self._destroyed, self._destroyed, self._tasks.qsize())

    def close(self) -> int:
        """Take no new session, and end the thread when all that waits is done; returns how many sessions are left.

        If there are any, a `ResourceWarning` says so; those end when `run` is called after their last packet.
        """
        with self._lock:
            first, self.closed = not self.closed, True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._tasks.put(None)
            if thread is not threading.current_thread():
                thread.join()
                self.run()
        elif self.by_hand:
            self.run()
        count = self.stat().sessions
        if first and count:
            warnings.warn(f"TLS worker closed with {count} sessions still in use", ResourceWarning, stacklevel=2)
        return count

    def __enter__(self) -> KtlsWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_thread", None) is not None:
            self._tasks.put(None)


def _serve(tasks: SimpleQueue[Task | None]) -> None:
    """The thread. See ktls_work_thread."""
    while (task := tasks.get()) is not None:
        _finish(task)
        # Waiting for the next, keep nothing of this.
        del task


def _finish(task: Task) -> None:
    session, remains = task
    session.destroy()
    if remains is not None:
        remains.free()
