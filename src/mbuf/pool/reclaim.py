"""Frees memory when a limit is reached or pages are out: calls protocols' drain functions, and empties caches.

This runs in a thread of its own, or by hand (`run`); never inside an allocation, and never with a lock held. Several
requests that come before they are served are served together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mbuf.const import UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, VM_LOW_KMEM
from mbuf.pool.drains import Drains
from mbuf.uma.limit import nothing
from mbuf.uma.refill import trim
from mbuf.vm.event import EVENTHANDLER_PRI_FIRST

if TYPE_CHECKING:
    from mbuf.pool.zones import Zones
    from mbuf.vm.vm import Vm


#: Stands for a zone where pages run out.
PAGES = "pages"

#: Stands for a zone where the memory of a pool with a budget is full: its caches were taken back already.
MEMORY = "memory"


class Reclaim:
    """Runs the drains for the zones that requested it. See mb_reclaim."""

    __slots__ = ("_busy", "_lock", "_on_shortage", "_pending", "by_hand", "drains", "vm", "zones")

    def __init__(self, vm: Vm, zones: Zones, by_hand: bool, shared: bool = False) -> None:
        # The Vm and the zones refer to this, so this must not refer to the pool, which closes when it is dropped.
        self.vm = vm
        self.zones = zones
        #: Protocols' drain functions, called without arguments.
        self.drains = Drains()
        #: True when only `run` runs them.
        self.by_hand = by_hand
        self._pending: dict[str, int] = {}
        self._busy = False
        self._lock = threading.Lock()
        self._on_shortage: Callable[[], None] = self.trigger_for(PAGES)
        vm.lowmem.register(self.lowmem, EVENTHANDLER_PRI_FIRST)
        vm.reclaim.register(self.reclaim)
        if not shared:
            # Zones that share a budget take back their caches themselves, and then trigger MEMORY.
            vm.shortage.register(self._on_shortage)

    def close(self) -> None:
        """Listen to memory no longer."""
        self.vm.lowmem.forget(self.lowmem)
        self.vm.reclaim.forget(self.reclaim)
        self.vm.shortage.forget(self._on_shortage)
        # It refers to this, and this to it.
        self._on_shortage = nothing

    def lowmem(self, why: int) -> None:
        """The listener of vm_lowmem: call the drains. See mb_reclaim."""
        self.drains.invoke()

    def reclaim(self, why: int) -> None:
        """Trim the caches; if memory is severely low, empty them. See uma_reclaim."""
        if why & VM_LOW_KMEM:
            self.drain()
        else:
            self._trim()

    def _trim(self) -> None:
        # Clusters that packets free go past the caches of their zone, which would keep them until the next time.
        trim(self.zones.all(), self.zones.clust)

    def shortage(self) -> None:
        """A request found no page: memory is low; if that was known or did not help, it is severely low."""
        if (not self.vm.low() or not self.vm.free) and not self.vm.low(VM_LOW_KMEM):
            # Drains were called within this second; a request for a page can't wait until they may be called again.
            self.drain()

    def drain(self) -> None:
        """Give the pages of all free items back to the operating system, also of those in the caches of all CPUs."""
        for zone in self.zones.all():
            zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
        # Packets have freed clusters, which their zone has cached.
        for zone in self.zones.all():
            zone.reclaim(UMA_RECLAIM_DRAIN)

    def trigger_for(self, zone: str) -> Callable[[], None]:
        """The function that a zone calls when it reaches its limit."""
        return partial(self.trigger, zone)

    def trigger(self, zone: str) -> None:
        """Request the drains for a zone, or for PAGES; returns at once."""
        self._pending[zone] = self._pending.get(zone, 0) + 1
        if self.by_hand or self._busy or not (self.drains or zone == PAGES):
            return
        with self._lock:
            if self._busy:
                return
            self._busy = True
        try:
            threading.Thread(target=self._serve, name="mbuf reclaim", daemon=True).start()
        except RuntimeError:
            # There is no thread, or the interpreter ends: the next trigger tries again.
            self._busy = False

    def forked(self) -> None:
        """In the child of a fork: the thread that ran drains does not exist. The next trigger starts one."""
        self._lock = threading.Lock()
        self._busy = False

    def _serve(self) -> None:
        again = True
        while again:
            try:
                while self.run():
                    pass
            finally:
                self._busy = False
            with self._lock:
                # A trigger that came in between has started no thread.
                again = bool(self._pending) and not self._busy
                self._busy |= again

    def run(self) -> int:
        """Serve the pending requests: call the drains once for each zone that asked. Returns how many zones did."""
        pending, self._pending = self._pending, {}
        count = len(pending)
        try:
            while pending:
                name, _ = pending.popitem()
                if name == PAGES:
                    self.shortage()
                else:
                    self.drains.invoke()
        finally:
            # A drain has raised KeyboardInterrupt or the like: the other requests are still pending.
            self._pending.update(pending)
        return count
