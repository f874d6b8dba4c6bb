"""The probes of mbufs: the kernel's table of them, and who may listen.

Names, arguments and where each fires are those of DTrace's sdt provider, as kern_mbuf.c has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

from mbuf.errors import Inval
from mbuf.pool.suggest import unknown
from mbuf.vm.probe import Probes


class Probe(NamedTuple):
    """One probe."""

    name: str
    #: What listeners are given, in order. `m` is an mbuf, or None where there is none.
    args: tuple[str, ...]
    sentence: str


PROBES = MappingProxyType(
    {
        name: Probe(name, tuple(args.split()), sentence)
        for name, args, sentence in (
            ("m-init", "m how type flags error", "An mbuf is dressed: has its type and flags, and no bytes yet."),
            ("m-get", "how type m", "An mbuf was asked for; m is None if the pool refused."),
            ("m-gethdr", "how type m", "An mbuf with a packet header was asked for; m is None if the pool refused."),
            ("m-getcl", "how type flags m", "An mbuf with a 2 KiB cluster was asked for; m is None if refused."),
            ("m-getjcl", "how type flags size m", "An mbuf with a cluster of 4, 9 or 16 KiB was handed out."),
            ("m-clget", "m how", "A 2 KiB cluster was asked for an mbuf; without M_EXT in its flags, it was refused."),
            ("m-cljget", "m how size cl", "A cluster was asked for, m may be None; cl is what holds it, or None."),
            ("m-cljset", "m cl type", "A raw cluster was attached to an mbuf; type is its EXT_ number."),
            ("m-free", "m", "An mbuf is about to be freed."),
            ("m-freem", "m", "A chain is about to be freed, which may be None; m-free follows for each mbuf."),
        )
    }
)


class MbufProbes(Probes):
    """`pool.probes`: call a function when mbufs are allocated and freed.

    A listener is called with the probe's arguments (`PROBES` has them), by the thread that allocates or frees,
    with no lock held. Mbufs stay the program's: look, keep no name, free nothing. What it does itself fires
    nothing; if it raises an exception, the log has that, and it is detached.
    """

    __slots__ = ()

    def attach(self, name: str, fn: Callable[..., object]) -> None:
        """Call `fn` whenever that probe fires. Raises `Inval` for an unknown name, and for what can't be called."""
        _known(name)
        self.listen(name, fn)

    def detach(self, name: str, fn: Callable[..., object]) -> None:
        """Call it no more. Raises `Inval` for an unknown name, and for a function that isn't attached."""
        _known(name)
        if not self.ignore(name, fn):
            raise Inval(f"probe {name}: {fn!r} is not attached to it")

    @contextmanager
    def attached(self, name: str, fn: Callable[..., object]) -> Iterator[None]:
        """Within it, `fn` is called whenever that probe fires."""
        self.attach(name, fn)
        try:
            yield
        finally:
            # It may have been detached already, by hand or because it raised.
            self.ignore(name, fn)


def _known(name: str) -> None:
    if name not in PROBES:
        raise Inval(unknown("probe", name, PROBES))
