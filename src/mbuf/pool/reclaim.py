"""What is done when memory runs out: protocols are asked to let go of what they can spare.

Runs in a thread of its own or by hand, never inside an allocation and never with a lock held. Requests
that come before the last one was served are one with it.
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


class Reclaim:
    """Drains, and which zones have asked for them. See mb_reclaim."""

    __slots__ = ("_busy", "_lock", "_on_shortage", "_pending", "by_hand", "drains", "vm", "zones")

    def __init__(self, vm: Vm, zones: Zones, by_hand: bool) -> None:
        # Memory calls this back, and zones do: it knows them, not the pool, which goes when nobody holds it.
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
        vm.shortage.register(self._on_shortage)

    def close(self) -> None:
        """Stop listening to memory."""
        self.vm.lowmem.forget(self.lowmem)
        self.vm.reclaim.forget(self.reclaim)
        self.vm.shortage.forget(self._on_shortage)
        # Which refers to this, and this to it.
        self._on_shortage = nothing

    def lowmem(self, why: int) -> None:
        """Memory is low: protocols let go of what they can spare. See mb_reclaim."""
        self.drains.invoke()

    def reclaim(self, why: int) -> None:
        """Give back what nobody will miss in the caches, or all of it where memory is severely low.

        See uma_reclaim.
        """
        if why & VM_LOW_KMEM:
            self.drain()
        else:
            self._trim()

    def _trim(self) -> None:
        # What packets let go of goes past the caches of its zone, which would keep it until the next time.
        trim(self.zones.all(), self.zones.clust)

    def shortage(self) -> None:
        """A request found no page: memory is low, and if that is no news or no help, severely low."""
        if (not self.vm.low() or not self.vm.free) and not self.vm.low(VM_LOW_KMEM):
            # Protocols have been asked within this second; who wants a page doesn't wait for the next.
            self.drain()

    def drain(self) -> None:
        """Give all free items back to the operating system, those in the caches of all CPUs too."""
        for zone in self.zones.all():
            zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
        # Packets let go of clusters, which those zones cached again.
        for zone in self.zones.all():
            zone.reclaim(UMA_RECLAIM_DRAIN)

    def trigger_for(self, zone: str) -> Callable[[], None]:
        """What a zone calls when it hits its limit."""
        return partial(self.trigger, zone)

    def trigger(self, zone: str) -> None:
        """Ask for the drains on behalf of a zone, or of PAGES; returns at once."""
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
            # No thread to be had, or the interpreter ends: the next trigger tries again.
            self._busy = False

    def forked(self) -> None:
        """In the child of a fork: the thread that ran drains isn't here. The next trigger does what is pending."""
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
                # A trigger in between took this one for busy.
                again = bool(self._pending) and not self._busy
                self._busy |= again

    def run(self) -> int:
        """Do what is pending: drains, once for each zone. Returns how many zones had asked."""
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
            # A drain has raised what ends the program, or this thread: the others are still pending.
            self._pending.update(pending)
        return count
