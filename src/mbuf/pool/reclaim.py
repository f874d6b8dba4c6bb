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


#: Who rings when pages run out.
PAGES = "pages"


class Reclaim:
    """Drains, and who has rung for them. See mb_reclaim."""

    __slots__ = ("_bell", "_busy", "_lock", "_rung", "by_hand", "drains", "vm", "zones")

    def __init__(self, vm: Vm, zones: Zones, by_hand: bool) -> None:
        # Memory calls this back, and zones do: it knows them, not the pool, which goes when nobody holds it.
        self.vm = vm
        self.zones = zones
        #: Protocols' drain functions, called without arguments.
        self.drains = Drains()
        #: True when only `run` runs them.
        self.by_hand = by_hand
        self._rung: dict[str, int] = {}
        self._busy = False
        self._lock = threading.Lock()
        self._bell: Callable[[], None] = self.bell(PAGES)
        vm.lowmem.register(self.lowmem, EVENTHANDLER_PRI_FIRST)
        vm.reclaim.register(self.reclaim)
        vm.shortage.register(self._bell)

    def close(self) -> None:
        """Hear no more of memory."""
        self.vm.lowmem.forget(self.lowmem)
        self.vm.reclaim.forget(self.reclaim)
        self.vm.shortage.forget(self._bell)
        # Which refers to this, and this to it.
        self._bell = nothing

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

    def bell(self, zone: str) -> Callable[[], None]:
        """What a zone calls when it hits its limit."""
        return partial(self.ring, zone)

    def ring(self, zone: str) -> None:
        """Ask for the drains on behalf of a zone, or of PAGES; returns at once."""
        self._rung[zone] = self._rung.get(zone, 0) + 1
        if self.by_hand or self._busy or not (self.drains or zone == PAGES):
            return
        with self._lock:
            if self._busy:
                return
            self._busy = True
        try:
            threading.Thread(target=self._serve, name="mbuf reclaim", daemon=True).start()
        except RuntimeError:
            # No thread to be had, or the interpreter ends: who rings next tries again.
            self._busy = False

    def forked(self) -> None:
        """In the child of a fork: the thread that ran drains isn't here. What was rung for is done at the next ring."""
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
                # Whoever rang in between took this one for busy.
                again = bool(self._rung) and not self._busy
                self._busy |= again

    def run(self) -> int:
        """Do what was rung for since: drains once for each zone. Returns how many rang."""
        rung, self._rung = self._rung, {}
        count = len(rung)
        try:
            while rung:
                name, _ = rung.popitem()
                if name == PAGES:
                    self.shortage()
                else:
                    self.drains.invoke()
        finally:
            # A drain has raised what ends the program, or this thread: the others' turn is still to come.
            self._rung.update(rung)
        return count
