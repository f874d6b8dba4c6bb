"""A duplicate of a file descriptor, which an event loop watches.

A loop knows what it watches by the number of the descriptor. If a program closes its socket while a loop watches the
socket, the number soon belongs to the next file that the program opens. The loop then doesn't watch that file although
it is asked to, and who stops watching the closed socket removes the callbacks of the other file. A program may close
its socket at any time, so the loop gets a duplicate of the descriptor. Its number can't be reused before `close`.

A duplicate keeps the socket open in the system: a socket that the program has closed is closed there after `close`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Watch:
    """Watches the file descriptor `fd` in a loop, until `close`. Raises OSError if it can't be duplicated."""

    __slots__ = ("_fd", "_loop", "_reader", "_writer")

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd = -1
        self._reader = self._writer = False
        self._fd = os.dup(fd)

    def add_reader(self, callback: Callable[[], object]) -> None:
        """Call `callback` whenever the descriptor is readable."""
        self._loop.add_reader(self._fd, callback)
        self._reader = True

    def remove_reader(self) -> None:
        """Stop that. Calling it again has no effect."""
        if self._reader:
            self._reader = False
            self._loop.remove_reader(self._fd)

    def add_writer(self, callback: Callable[..., object], *args: object) -> None:
        """Call `callback` with the arguments whenever the descriptor is writable."""
        self._loop.add_writer(self._fd, callback, *args)
        self._writer = True

    def remove_writer(self) -> None:
        """Stop that. Calling it again has no effect."""
        if self._writer:
            self._writer = False
            self._loop.remove_writer(self._fd)

    def close(self) -> None:
        """Watch no more, and close the duplicate. Calling it again has no effect."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if not self._loop.is_closed():
            if self._reader:
                self._loop.remove_reader(fd)
            if self._writer:
                self._loop.remove_writer(fd)
        self._reader = self._writer = False
        os.close(fd)

    def __del__(self) -> None:
        # The loop that watched it is gone.
        self.close()
