"""The worker that destroys TLS sessions, in a thread of its own.

The last reference to a session may be released anywhere: in `free`, in a finalizer, with locks held. A session's
`on_destroy` is a function of the program, which must not be called there. So the session is put on a queue, with the
mbuf that was its last record, if any, and the worker takes it from there, first come, first served: it destroys the
session, then gives the mbuf's item back to its zone. See ktls_work_thread.

`SimpleQueue.put` is reentrant and never waits, so a finalizer may add to the queue at any time. The thread
refers only to the queue, not to the worker, so a worker that is dropped can be collected; its finalizer then ends the
thread. None in the queue means: end.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from mbuf.errors import Freed
from mbuf.fielddocs import documented
from mbuf.vm.lock import Lock
from mbuf.vm.warn import end_block, warn

if TYPE_CHECKING:
    from types import TracebackType


class Destroyable(Protocol):
    """What the worker needs of a session."""

    def destroy(self) -> None:
        """End the session, to which there are no references any more."""


#: A session to be destroyed, and the `DeferredFree` of the mbuf that had the last reference to it, or None.
Request = tuple[Destroyable, Any]


@documented
@dataclass(frozen=True, slots=True)
class KtlsStat:
    """The counters of a worker."""

    #: The number of sessions that exist.
    sessions: int
    #: The number of sessions that were destroyed.
    destroyed: int
    #: The number of sessions without references that wait to be destroyed.
    waiting: int


class KtlsWorker:
    """Destroys TLS sessions. See ktls_enqueue_to_free.

    The first session starts its thread. With `threaded=False` there is no thread, and sessions are destroyed when `run`
    is called. Call `close`, or use it in a `with` statement, after all packets with records are freed. After a fork,
    the child's copy has no thread until a session is made; `run` and `close` destroy the sessions that wait.
    """

    __slots__ = ("_created", "_destroyed", "_lock", "_queue", "_thread", "closed", "threaded")

    def __init__(self, threaded: bool = True) -> None:
        #: False if only `run` destroys sessions.
        self.threaded = threaded
        #: True after `close`: no more sessions can be made.
        self.closed = False
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = Lock()
        self._created = 0
        self._destroyed = 0

    def add_session(self) -> None:
        """Count a new session, and start the thread if there is none. Raises `Freed` after `close`."""
        with self._lock:
            if self.closed:
                raise Freed("this TLS worker is closed: make another one")
            # In the child of a fork, the thread isn't alive.
            if self.threaded and (self._thread is None or not self._thread.is_alive()):
                thread = threading.Thread(target=_work, args=(self._queue,), name="mbuf ktls", daemon=True)
                thread.start()
                self._thread = thread
            self._created += 1

    def remove_session(self) -> None:
        """Count a session that was destroyed."""
        with self._lock:
            self._destroyed += 1

    def enqueue(self, request: Request) -> None:
        """Queue a session without references, to be destroyed. Never waits, and may be called in a finalizer."""
        self._queue.put(request)

    def run(self) -> int:
        """Destroy the sessions that wait; return their number."""
        done = 0
        while True:
            try:
                request = self._queue.get_nowait()
            except Empty:
                return done
            if request is None:
                # This is for the thread.
                self._queue.put(None)
                return done
            _destroy(request)
            done += 1

    def stat(self) -> KtlsStat:
        """Return the counters."""
        return KtlsStat(self._created - self._destroyed, self._destroyed, self._queue.qsize())

    def close(self) -> int:
        """Accept no new sessions, destroy those that wait, and end the thread; return the number of sessions left.

        If some are left, there is a `ResourceWarning`: they have references. When these are released, call `run` to
        destroy the sessions. Calling `close` again returns the number again.
        """
        with self._lock:
            first, self.closed = not self.closed, True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            if thread is not threading.current_thread():
                thread.join()
                self.run()
        elif not self.threaded:
            self.run()
        count = self.stat().sessions
        if first and count:
            warn(f"TLS worker closed with {count} sessions still in use", ResourceWarning)
        return count

    def __enter__(self) -> KtlsWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """`close`. A warning that a filter makes an error is added to the exception of the block, if there is one."""
        end_block(self.close, error)

    def __del__(self) -> None:
        if getattr(self, "_thread", None) is not None:
            self._queue.put(None)


def _work(queue: SimpleQueue[Request | None]) -> None:
    """Run in the thread. See ktls_work_thread."""
    while (request := queue.get()) is not None:
        _destroy(request)
        # Hold no reference to it while waiting.
        del request


def _destroy(request: Request) -> None:
    session, deferred = request
    session.destroy()
    if deferred is not None:
        deferred.free()
