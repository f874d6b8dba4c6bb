"""Watches Linux for pressure on memory, and reports it to the Vm: vm_lowmem.

A kernel's page daemon sees by itself that memory is low; a program has to ask the kernel. This takes no mbuf, and
holds no lock while it calls a listener.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mbuf.const import VM_LOW_KMEM
from mbuf.errors import Busy
from mbuf.vm.pressure import INTERVAL, Pressure
from mbuf.vm.psi import PressureFile, pressure_files
from mbuf.vm.unraisable import report

if TYPE_CHECKING:
    from mbuf.vm.vm import Vm


class MemoryWatch:
    """A context, from `pool.watch_memory()`, that reports to a Vm when the machine's memory is low or severely low.

    Low memory is reported at most once in `vm.lowmem_period` seconds: then drains run and caches are trimmed.
    Severely low memory (all tasks are stalled by a lack of memory, or a control group has nothing left) is reported at
    most once a second: then all caches are emptied.

    In a `with` statement, listeners are called from a thread of its own; in an `async with`, from the event loop.
    What a listener raises goes to `sys.unraisablehook`, or to the loop's exception handler, and watching goes on.
    `watched` are the files to watch, by default those that this machine has; those that can't wake a waiting thread
    are read every `interval` seconds. When the statement ends, no thread and no descriptor is left. A watch that is
    dropped ends.
    """

    __slots__ = ("_interval", "_pressure", "_thread", "_vm", "_watched")

    def __init__(self, vm: Vm, watched: Sequence[PressureFile] | None = None, interval: float = INTERVAL) -> None:
        self._vm = vm
        self._watched = watched
        self._interval = interval
        self._pressure: Pressure | None = None
        self._thread: threading.Thread | None = None

    @property
    def source(self) -> str:
        """The files that are watched, each after `trigger` or `poll`; empty while it doesn't watch."""
        return self._pressure.source if self._pressure is not None else ""

    def _start(self, call: Callable[[Callable[[int], object], int], object]) -> None:
        if self._pressure is not None:
            raise Busy("this watch is on already: make another one with pool.watch_memory()")
        pressure = Pressure(pressure_files() if self._watched is None else self._watched, self._interval)
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
            # In a child of a fork the thread does not exist, and the descriptors are those of the parent's watch.
            pressure.close()
            return
        pressure.stop()
        if thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> MemoryWatch:
        """Begin to watch, and call listeners from a thread. Raises `Busy` if this watches already."""
        self._start(_call)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    async def __aenter__(self) -> MemoryWatch:
        """Begin to watch, and call listeners from the running event loop. Raises `Busy` if this watches already."""
        # Imported here: a program without an event loop does not need asyncio.
        from asyncio import get_running_loop

        self._start(partial(_call, get_running_loop().call_soon_threadsafe))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop()

    def __del__(self) -> None:
        # This must not wait; the thread closes what there is to close.
        pressure = getattr(self, "_pressure", None)
        if pressure is not None:
            pressure.stop()


def _call(fn: Callable[..., object], *args: Any) -> None:
    """Call `fn(*args)`; report an exception to `sys.unraisablehook`, so that the thread goes on."""
    try:
        fn(*args)
    except BaseException as error:  # there is no caller to catch it
        report(error, fn)


def _watch(pressure: Pressure, low: Callable[[int], object]) -> None:
    """The function of the thread. It doesn't refer to the watch, which may be dropped."""
    try:
        while why := pressure.wait():
            low(why)
    finally:
        pressure.close()


def _low(pressure: Pressure, vm: Vm, why: int) -> None:
    # The event loop may call this after the watch has ended.
    if pressure.stopped:
        return
    try:
        vm.low()
    finally:
        if why & VM_LOW_KMEM:
            vm.low(VM_LOW_KMEM)
