"""What probes tell, as lines of text: when, on which CPU, which probe, and with what.

Attaches to a pool's probes and formats; who reads the lines is up to whoever made it.
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
def traced(pool: Pool, clock: CaptureClock, write: Callable[[str], object]) -> Iterator[None]:
    """Within it, `write` gets a line for every probe that fires; after one that it can't take, no more."""

    def told(probe: Probe, *args: object) -> None:
        words = " ".join(f"{name}={show(probe, name, value)}" for name, value in zip(probe.args, args, strict=True))
        try:
            write(f"{clock.now / SECOND:12.6f} {pool.cpus.current():3} {probe.name:8} {words}")
        except BaseException:
            stop()
            raise

    def stop() -> None:
        for name, fn in listeners.items():
            pool.probes.ignore(name, fn)

    write(f"{'SECONDS':>12} CPU {'PROBE':8} ARGUMENTS")
    listeners = {name: partial(told, probe) for name, probe in PROBES.items()}
    for name, fn in listeners.items():
        pool.probes.attach(name, fn)
    try:
        yield
    finally:
        stop()


def show(probe: Probe, name: str, value: object) -> str:
    """An argument as people know it: by its name where it has one, an object by its address, an mbuf by its `id`."""
    if isinstance(value, int):
        if name == "how":
            return "M_WAITOK" if value == M_WAITOK else "M_NOWAIT"
        if name == "flags":
            return flag_names(value)
        if name == "type":
            return ext_name(value) if probe.name == "m-cljset" else type_name(value)
        return str(value)
    return "NULL" if value is None else f"{value.id if isinstance(value, Mbuf) else id(value):#x}"
