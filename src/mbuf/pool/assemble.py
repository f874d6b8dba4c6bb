"""From the arguments of `Pool` to its parts: they are checked, the limits are planned, and a `Subsystem` is made."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from operator import index
from typing import Any

from mbuf.const import MHLEN
from mbuf.errors import Inval, TunableWarning
from mbuf.packet.ext import ext_class
from mbuf.pool.sizing import plan
from mbuf.pool.subsystem import Subsystem, pool_stat_class
from mbuf.pool.tunable_checks import Given, check_tunables
from mbuf.uma.counters import zone_stat_class
from mbuf.vm.ints import integer, kind_of
from mbuf.vm.vm import Vm
from mbuf.vm.warn import warn

#: What methods of a pool load. In the middle of a call, an import can fail, as if no file can be opened.
_LOADED_BEFORE = ("logging", "mbuf.pool.aio", "mbuf.pool.audit")


def assemble(
    memory: Any,
    tunables: Mapping[str, int | str],
    ncpu: int,
    debug: bool,
    caching: bool,
    worker: bool,
    max_linkhdr: int,
    max_protohdr: int,
    nsfbufs: int,
    strict: bool,
    vm: Vm | None,
    limits: Any,
    reserve_for: Any,
) -> Subsystem:
    """Return the parts of a pool with these arguments of `Pool`, or raise what `Pool` raises."""
    for name in _LOADED_BEFORE:
        import_module(name)
    ext_class(), pool_stat_class(), zone_stat_class()
    if not isinstance(tunables, Mapping):
        raise TypeError(f"Pool: tunables: give a mapping of names to numbers or texts, not {kind_of(tunables)}")
    given = {name: value if isinstance(value, str | Given) else index(value) for name, value in tunables.items()}
    cpus, windows = integer(ncpu, "ncpu"), integer(nsfbufs, "nsfbufs")
    headers = (
        _header("max_linkhdr", integer(max_linkhdr, "max_linkhdr")),
        _header("max_protohdr", integer(max_protohdr, "max_protohdr")),
    )
    sizing = plan(memory, vm, given, limits, reserve_for)
    size = sizing.vm.realmem if sizing.vm is not None else sizing.memory.physmem
    for warning in check_tunables(given, size, sizing.limits) if strict and not sizing.budget else ():
        warn(warning, TunableWarning)
    pages = sizing.vm if sizing.vm is not None else Vm(sizing.memory.physmem)
    return Subsystem(pages, sizing, given, cpus, bool(debug), bool(caching), bool(worker), *headers, windows)


def _header(name: str, count: int) -> int:
    """The bytes of a header, which must fit into an mbuf with a packet header."""
    if not 0 <= count <= MHLEN:
        raise Inval(f"{name} {count}: give the bytes of the largest header, 0 to {MHLEN}")
    return count
