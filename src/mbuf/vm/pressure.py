"""Waits until memory is short.

Waits for PSI triggers where Linux allows them, and polls the other files. Allocates no mbufs, calls no listeners, and
holds no lock while it waits.
"""

import os
import select
import threading
from collections.abc import Iterable

from mbuf.vm.fork import FORK
from mbuf.vm.psi import PressureFile

#: Seconds between two polls of the files without a trigger; as long as the window of a trigger.
INTERVAL = 1.0


class Pressure:
    """Pressure files, with a trigger or polled. It has open descriptors until `close`."""

    __slots__ = ("_triggers", "_epoll", "_interval", "_lock", "_polled", "_pid", "_wake", "stopped")

    def __init__(self, files: Iterable[PressureFile], interval: float = INTERVAL) -> None:
        self._interval = interval
        # A child of a fork has the same descriptors: writing to one there would wake the parent.
        self._pid = os.getpid()
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        # Files with a trigger, by its descriptor.
        self._triggers: dict[int, PressureFile] = {}
        self._polled: list[PressureFile] = []
        # Held by `stop` and `close`, so that no closed descriptor is written to. Reentrant: finalizers may call `stop`.
        self._lock = threading.RLock()
        FORK.guard(self._lock)
        #: True after `stop`.
        self.stopped = False
        try:
            for file in files:
                self._add(file, file.open_trigger())
        except OSError:
            self.close()
            raise

    def _add(self, file: PressureFile, fd: int) -> None:
        if fd < 0:
            self._polled.append(file)
        else:
            self._triggers[fd] = file
            # Edge-triggered: a descriptor that stays ready must not end every wait at once.
            self._epoll.register(fd, select.EPOLLPRI | select.EPOLLET)

    @property
    def source(self) -> str:
        """The files in use, each after `trigger` or `poll`; empty if there are none."""
        triggers = [f"trigger {file.path}" for file in self._triggers.values()]
        # A file with two counters is listed once.
        return ", ".join(dict.fromkeys(triggers + [f"poll {file.path}" for file in self._polled]))

    def wait(self) -> int:
        """Wait until memory is short: VM_LOW_PAGES, VM_LOW_KMEM or both (or-ed); 0 after `stop`."""
        while True:
            why = 0
            for fd, what in self._epoll.poll(self._interval if self._polled else None):
                if fd == self._wake:
                    return 0
                if what & (select.EPOLLERR | select.EPOLLHUP):
                    self._poll_instead(fd)
                else:
                    why |= self._triggers[fd].why
            for file in self._polled:
                why |= file.why if file.has_risen() else 0
            if why:
                return why

    def _poll_instead(self, fd: int) -> None:
        """Close a trigger whose file is gone, and poll the file, in case it comes back."""
        self._polled.append(self._triggers.pop(fd))
        os.close(fd)

    def stop(self) -> None:
        """Make `wait` return 0 from now on; any thread may call this. In a child of a fork, close instead."""
        if os.getpid() != self._pid:
            self.close()
            return
        with self._lock:
            if not self.closed:
                self.stopped = True
                os.eventfd_write(self._wake, 1)

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._epoll.closed

    def close(self) -> None:
        """Close all descriptors."""
        with self._lock:
            if self.closed:
                return
            self.stopped = True
            self._epoll.close()
            for fd in (self._wake, *self._triggers):
                os.close(fd)
