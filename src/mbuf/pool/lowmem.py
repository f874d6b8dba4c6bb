"""Watches Linux for pressure on memory, and says so to the Vm: vm_lowmem.

The kernel's page daemon knows of itself when memory is short; we have to ask. Knows neither zones nor
mbufs, takes none, and holds no lock while anybody is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mbuf.const import VM_LOW_KMEM
from mbuf.errors import Busy
from mbuf.vm.gauge import Gauge, gauges
from mbuf.vm.pressure import INTERVAL, Pressure
from mbuf.vm.unraisable import report

if TYPE_CHECKING:
    from mbuf.vm.vm import Vm


class MemoryWatch:
    """Says to a Vm that memory is low whenever it is: once in its `lowmem_period`, however long it is.

    And that it is severely low, at most once a second, where all tasks stand still for want of it or a control
    group has nothing left: then nothing stays in caches.

    `pool.watch_memory()` makes one. In a `with` statement, listeners are called from its thread; in an
    `async with`, from the event loop. What they raise goes to `sys.unraisablehook`, or to the loop's handler, and
    it goes on. It looks at `has_views`, by default what this machine has, every `interval` seconds where Linux
    doesn't low of itself.
    At the end of the statement no thread and no descriptor is left; one that is dropped ends by itself.
    """

    __slots__ = ("_interval", "_pressure", "_thread", "_vm", "_watched")

    def __init__(self, vm: Vm, watched: Sequence[Gauge] | None = None, interval: float = INTERVAL) -> None:
        self._vm = vm
        self._watched = watched
        self._interval = interval
        self._pressure: Pressure | None = None
        self._thread: threading.Thread | None = None

    @property
    def source(self) -> str:
        """What it hears of pressure from: each file, after `trigger` or `poll`. Empty when it doesn't watch."""
        return self._pressure.source if self._pressure is not None else ""

    def _start(self, call: Callable[[Callable[[int], object], int], object]) -> None:
        if self._pressure is not None:
            raise Busy("this watch is on already: use another for another `with`")
        pressure = Pressure(gauges() if self._watched is None else self._watched, self._interval)
        low = partial(call, partial(_low, pressure, self._vm))
        thread = threading.Thread(target=_watch, args=(pressure, low), name="mbuf memory", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            pressure.close()
            raise
        self._pressure, self._thread = pressure, thread

    def _stop(self) -> None:
        pressure, thread = self._pressure, self._thread
        self._pressure = self._thread = None
        if pressure is None or thread is None:
            return
        if not thread.is_alive():
            # It isn't in a child of this process: there, these are descriptors of the parent's watch.
            pressure.close()
            return
        pressure.stop()
        if thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> MemoryWatch:
        self._start(_call)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    async def __aenter__(self) -> MemoryWatch:
        # Only who runs a loop needs this, and has it already.
        from asyncio import get_running_loop

        self._start(partial(_call, get_running_loop().call_soon_threadsafe))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop()

    def __del__(self) -> None:
        # Wherever this is, it must not wait; the thread knows what to close.
        pressure = getattr(self, "_pressure", None)
        if pressure is not None:
            pressure.stop()


def _call(fn: Callable[..., object], *args: Any) -> None:
    """Call `fn(*args)`; whatever it raises goes to `sys.unraisablehook`: the thread goes on."""
    try:
        fn(*args)
    except BaseException as error:  # nobody else can catch it
        report(error, fn)


def _watch(pressure: Pressure, low: Callable[[int], object]) -> None:
    """What the thread does. It doesn't refer to the watch, which may be dropped."""
    try:
        while why := pressure.wait():
            low(why)
    finally:
        pressure.close()


def _low(pressure: Pressure, vm: Vm, why: int) -> None:
    # What the event loop was still to do when the watch ended.
    if pressure.stopped:
        return
    try:
        vm.low()
    finally:
        if why & VM_LOW_KMEM:
            vm.low(VM_LOW_KMEM)
