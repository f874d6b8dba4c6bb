"""A duplicate of a file descriptor, which an event loop watches.

A loop knows what it watches by the number of the descriptor. If a program closes its socket while a loop watches the
socket, the number soon belongs to the next file that the program opens. The loop then doesn't watch that file although
it is asked to, and who stops watching the closed socket removes the callbacks of the other file. A program may close
its socket at any time, so the loop gets a duplicate of the descriptor. Its number can't be reused before `close`.

A duplicate keeps the socket open in the system: a socket that the program has closed is closed there after `close`.

uvloop has a second trap: when a descriptor has an error (EPOLLERR), as a UDP socket has after a refused datagram, it
calls the callbacks once and then watches the descriptor no more, without telling. So a loop that isn't asyncio's gets
the descriptor of an epoll instance that has the duplicate in it. That is readable when the duplicate is readable, or
writable, or has an error, and has no error itself. See epoll(7), "monitored by another epoll".
"""

from __future__ import annotations

import asyncio
import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Watch:
    """Watches the file descriptor `fd` in a loop, until `close`. Raises OSError if it can't be duplicated."""

    __slots__ = ("_fd", "_loop", "_polls", "_reader", "_writer")

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd = -1
        self._reader = self._writer = False
        # The epoll instances, by their event; None if the loop can watch the duplicate itself.
        self._polls: dict[int, select.epoll] | None = None if isinstance(loop, asyncio.SelectorEventLoop) else {}
        self._fd = os.dup(fd)

    def add_reader(self, callback: Callable[[], object]) -> None:
        """Call `callback` whenever the descriptor is readable."""
        self._loop.add_reader(self._watched(select.EPOLLIN), callback)
        self._reader = True

    def remove_reader(self) -> None:
        """Stop that. Calling it again has no effect."""
        if self._reader:
            self._reader = False
            self._loop.remove_reader(self._watched(select.EPOLLIN))

    def add_writer(self, callback: Callable[..., object], *args: object) -> None:
        """Call `callback` with the arguments whenever the descriptor is writable."""
        if self._polls is None:
            self._loop.add_writer(self._fd, callback, *args)
        else:
            self._loop.add_reader(self._watched(select.EPOLLOUT), callback, *args)
        self._writer = True

    def remove_writer(self) -> None:
        """Stop that. Calling it again has no effect."""
        if self._writer:
            self._writer = False
            if self._polls is None:
                self._loop.remove_writer(self._fd)
            else:
                self._loop.remove_reader(self._watched(select.EPOLLOUT))

    def _watched(self, event: int) -> int:
        """Return the descriptor that the loop watches for an event."""
        if self._polls is None:
            return self._fd
        poll = self._polls.get(event)
        if poll is None:
            poll = self._polls[event] = select.epoll(1)
            poll.register(self._fd, event)
        return poll.fileno()

    def close(self) -> None:
        """Watch no more, and close the duplicate. Calling it again has no effect."""
        if self._fd < 0:
            return
        if not self._loop.is_closed():
            self.remove_reader()
            self.remove_writer()
        self._reader = self._writer = False
        fd, self._fd = self._fd, -1
        for poll in (self._polls or {}).values():
            poll.close()
        self._polls = None
        os.close(fd)

    def __del__(self) -> None:
        # The loop that watched it is gone.
        self.close()
