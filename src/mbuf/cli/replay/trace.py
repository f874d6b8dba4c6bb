"""The trace of --trace: a line for each probe of the pool that fires.

A line has the capture time, the CPU, the probe and its arguments, which are named as in the kernel.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from mbuf.cli.replay.clock import SECOND, CaptureClock
from mbuf.const import M_WAITOK
from mbuf.packet.flags import ext_name, flag_names, type_name
from mbuf.packet.mbuf import Mbuf
from mbuf.pool.pool import Pool
from mbuf.pool.probes import PROBES, Probe


@contextmanager
def trace(pool: Pool, clock: CaptureClock, write: Callable[[str], object]) -> Iterator[None]:
    """Within it, `write` gets a line for each probe that fires. After an exception of `write`, it gets no more."""

    def on_probe(probe: Probe, *args: object) -> None:
        text = " ".join(f"{name}={format_arg(probe, name, arg)}" for name, arg in zip(probe.args, args, strict=True))
        try:
            write(f"{clock.now / SECOND:12.6f} {pool.cpus.current():3} {probe.name:8} {text}")
        except BaseException:
            stop()
            raise

    def stop() -> None:
        for name, listener in listeners.items():
            pool.probes.ignore(name, listener)

    write(f"{'SECONDS':>12} CPU {'PROBE':8} ARGUMENTS")
    listeners = {name: partial(on_probe, probe) for name, probe in PROBES.items()}
    for name, listener in listeners.items():
        pool.probes.attach(name, listener)
    try:
        yield
    finally:
        stop()


def format_arg(probe: Probe, name: str, value: object) -> str:
    """Return an argument as text: a constant by its name, an mbuf by its `id`, another object by its address."""
    if isinstance(value, int):
        if name == "how":
            return "M_WAITOK" if value == M_WAITOK else "M_NOWAIT"
        if name == "flags":
            return flag_names(value)
        if name == "type":
            return ext_name(value) if probe.name == "m-cljset" else type_name(value)
        return str(value)
    return "NULL" if value is None else f"{value.id if isinstance(value, Mbuf) else id(value):#x}"
