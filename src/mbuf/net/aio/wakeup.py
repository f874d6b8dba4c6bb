"""What a task waits for until a callback of the event loop wakes it: a future that wakes the task at once.

`asyncio.Future.set_result` schedules the task for the next iteration of the loop, with another call of epoll_wait(2).
`Wakeup.wake` runs the task inside of the call, as a callback of a protocol is run. That is possible if no other task
is running. Otherwise, as if the task is cancelled or the stream ends, the task is scheduled as a future would do it.

asyncio's tasks can await any object that has `_asyncio_future_blocking` and some methods of a future:

    await wakeup -> __next__ returns the wakeup -> the task calls add_done_callback(callback, context=...)
    wake         -> callback(wakeup) -> the task calls `result`, and continues -> __next__ ends the iteration

A `Wakeup` is awaited by one task, once.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context


class Wakeup:
    """Awaited by a task of the loop that runs, until `wake` or `set_exception` is called or the task is cancelled."""

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_done", "_error", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # The task sets it to False when it has understood that it must wait.
        self._asyncio_future_blocking = False
        self._callback: Callable[[Wakeup], object] | None = None
        self._context: Context | None = None
        self._done = False
        self._error: BaseException | None = None

    def wake(self) -> None:
        """Continue the task: in this call, unless another task is running. Calling it again has no effect."""
        if self._done:
            return
        self._done = True
        callback, context = self._callback, self._context
        if callback is None or context is None:
            return
        if asyncio.current_task(self._loop) is not None:
            self._loop.call_soon(callback, self, context=context)
            return
        try:
            context.run(callback, self)
        except BaseException as error:
            # The task keeps other exceptions. Transports do not end the loop with these, but callbacks do.
            self._loop.call_soon(_raise, error)

    def set_exception(self, error: BaseException) -> None:
        """Raise an exception where the task waits, soon. It has no effect if the task doesn't wait any more."""
        self._error = error
        self.wake_soon()

    def wake_soon(self) -> None:
        """Continue the task in the next iteration of the loop."""
        if not self._done:
            self._done = True
            if self._callback is not None:
                self._loop.call_soon(self._callback, self, context=self._context)

    # What a task needs of a future.

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Wakeup:
        if self._done or self._callback is not None:
            self.result()
            raise StopIteration
        self._asyncio_future_blocking = True
        return self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of the task."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Wakeup], object], *, context: Context | None = None) -> None:
        """Continue the task by calling `callback`; called by the task."""
        self._callback, self._context = callback, context

    def cancel(self, msg: Any = None) -> bool:
        """Have the task raise CancelledError; called by `Task.cancel`. False if it doesn't wait any more."""
        if self._done:
            return False
        self.set_exception(CancelledError() if msg is None else CancelledError(msg))
        return True

    def done(self) -> bool:
        """Return True if the task doesn't wait any more."""
        return self._done

    def result(self) -> None:
        """Raise the exception, if there is one; called by the task."""
        if self._error is not None:
            raise self._error


def _raise(error: BaseException) -> None:
    raise error
