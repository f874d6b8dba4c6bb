"""Waits until memory is short.

Linux tells of it where it allows that (a PSI trigger); elsewhere the gauges are looked at again and again.
Allocates nothing of ours, calls nobody, and holds no lock while it waits.
"""

import os
import select
import threading
from collections.abc import Iterable

from mbuf.vm.fork import FORK
from mbuf.vm.gauge import Gauge

#: Seconds between two looks at gauges that don't tell by themselves: a trigger's window.
INTERVAL = 1.0


class Pressure:
    """Gauges, some of them armed. It holds descriptors until it is closed."""

    __slots__ = ("_armed", "_epoll", "_interval", "_lock", "_looked", "_pid", "_wake", "stopped")

    def __init__(self, gauges: Iterable[Gauge], interval: float = INTERVAL) -> None:
        self._interval = interval
        # A child of a fork has the same descriptors: what is written there wakes the parent.
        self._pid = os.getpid()
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        # By descriptor.
        self._armed: dict[int, Gauge] = {}
        self._looked: list[Gauge] = []
        # Taken to stop and to close, so that what is closed isn't written to; reentrant, for a finalizer may stop.
        self._lock = threading.RLock()
        FORK.guard(self._lock)
        #: True once `stop` was called.
        self.stopped = False
        try:
            for gauge in gauges:
                self._add(gauge, gauge.arm())
        except OSError:
            self.close()
            raise

    def _add(self, gauge: Gauge, fd: int) -> None:
        if fd < 0:
            self._looked.append(gauge)
        else:
            self._armed[fd] = gauge
            # Told of once each time: a descriptor that stays ready would have us go round and round.
            self._epoll.register(fd, select.EPOLLPRI | select.EPOLLET)

    @property
    def source(self) -> str:
        """What tells of pressure: each file, after `trigger` or `poll`; empty if nothing does."""
        armed = [f"trigger {gauge.path}" for gauge in self._armed.values()]
        # A file that tells of two things is told of once.
        return ", ".join(dict.fromkeys(armed + [f"poll {gauge.path}" for gauge in self._looked]))

    def wait(self) -> int:
        """Why, once memory was short: VM_LOW_PAGES, VM_LOW_KMEM or both; 0 once `stop` was called."""
        while True:
            why = 0
            for fd, what in self._epoll.poll(self._interval if self._looked else None):
                if fd == self._wake:
                    return 0
                if what & (select.EPOLLERR | select.EPOLLHUP):
                    self._disarm(fd)
                else:
                    why |= self._armed[fd].why
            for gauge in self._looked:
                why |= gauge.why if gauge.look() else 0
            if why:
                return why

    def _disarm(self, fd: int) -> None:
        """Linux tells no more: its file is gone. Should it come again, it is looked at."""
        self._looked.append(self._armed.pop(fd))
        os.close(fd)

    def stop(self) -> None:
        """Have `wait` return false, now and from now on; from any thread. In a child of a fork nobody waits: close."""
        if os.getpid() != self._pid:
            self.close()
            return
        with self._lock:
            if not self.closed:
                self.stopped = True
                os.eventfd_write(self._wake, 1)

    @property
    def closed(self) -> bool:
        """True when nothing is held any more."""
        return self._epoll.closed

    def close(self) -> None:
        """Let go of all descriptors."""
        with self._lock:
            if self.closed:
                return
            self.stopped = True
            self._epoll.close()
            for fd in (self._wake, *self._armed):
                os.close(fd)
