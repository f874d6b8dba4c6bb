"""The probes of mbufs: the kernel's table of them, and how listeners are attached.

Names, arguments and the places where they fire are those of DTrace's sdt provider in kern_mbuf.c.
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

    #: The name, as in DTrace.
    name: str
    #: The arguments of listeners, in order. `m` is an mbuf or None.
    args: tuple[str, ...]
    #: When it fires.
    sentence: str


PROBES = MappingProxyType(
    {
        name: Probe(name, tuple(args.split()), sentence)
        for name, args, sentence in (
            ("m-init", "m how type flags error", "An mbuf was initialized: it has a type and flags, and no bytes yet."),
            ("m-get", "how type m", "An mbuf was requested; m is None if there was none."),
            ("m-gethdr", "how type m", "An mbuf with a packet header was requested; m is None if there was none."),
            ("m-getcl", "how type flags m", "An mbuf with a 2 KiB cluster was requested; m is None if there was none."),
            ("m-getjcl", "how type flags size m", "An mbuf with a larger cluster was allocated."),
            ("m-clget", "m how", "A 2 KiB cluster was requested for an mbuf, which has M_EXT if it got one."),
            (
                "m-cljget",
                "m how size cl",
                "A cluster was requested; m may be None. cl is the mbuf or the cluster.",
            ),
            ("m-cljset", "m cl type", "A raw cluster was attached to an mbuf; type is its EXT_ number."),
            ("m-free", "m", "An mbuf is about to be freed."),
            ("m-freem", "m", "A chain is about to be freed; m may be None. m-free follows for each mbuf."),
        )
    }
)


class MbufProbes(Probes):
    """`pool.probes`: functions that are called when mbufs are allocated and freed.

    A listener is called with the probe's arguments (see `PROBES`), in the thread that allocates or frees, with no
    lock held. It can read an mbuf that it gets; to change, link, share or free that raises `Busy`. A new mbuf is shown
    by a stand-in with the same `id`, which is as freed when the listener returns: the method that asked for the mbuf
    goes on with it. What a listener does fires no probe. If it raises, the exception is logged and the listener is
    detached.
    """

    __slots__ = ()

    def attach(self, name: str, fn: Callable[..., object]) -> None:
        """Call `fn` whenever the probe fires. Raises `Inval` for an unknown name, and if `fn` can't be called."""
        _known(name)
        self.listen(name, fn)

    def detach(self, name: str, fn: Callable[..., object]) -> None:
        """Stop calling `fn`. Raises `Inval` for an unknown name, and for a function that isn't attached."""
        _known(name)
        if not self.ignore(name, fn):
            raise Inval(f"probe {name}: {fn!r} is not attached to it")

    @contextmanager
    def attached(self, name: str, fn: Callable[..., object]) -> Iterator[None]:
        """Return a context in which `fn` is called whenever the probe fires."""
        self.attach(name, fn)
        try:
            yield
        finally:
            # It may have been detached already, by hand or because it raised.
            self.ignore(name, fn)


def _known(name: str) -> None:
    if name not in PROBES:
        raise Inval(unknown("probe", name, PROBES))
