"""The machine that a command is told to model: its memory, and what it was booted with.

Reads the options that commands have in common, and the environment. Never makes a pool.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from mbuf.cli.format import plain
from mbuf.cli.options import CPUS, SIZE, Refused, tunables
from mbuf.errors import Inval, TunableWarning
from mbuf.pool.tunables import from_environ, read_loader_conf
from mbuf.vm.vm import host_memory

Command = Callable[..., Any]

_OPTIONS = (
    click.option("--ncpu", type=CPUS, default=1, help="CPUs, each with its caches."),
    click.option("--physmem", type=SIZE, help="The machine's memory, as in 4G.  [default: what is here]"),
    click.option("--loader-conf", metavar="FILE", help="Tunables, as in /boot/loader.conf."),
    click.option(
        "--set", "sets", metavar="NAME=VALUE", multiple=True, help="A tunable; it outdoes file and environment."
    ),
)


def machine_options(command: Command) -> Command:
    """Give a command the options of a machine."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def memory(physmem: float | None) -> int:
    """Bytes of memory."""
    return host_memory() if physmem is None else int(physmem)


def booted_with(loader_conf: str | None, sets: tuple[str, ...]) -> dict[str, int | str]:
    """The tunables of the file, of the environment (MBUF_NMBCLUSTERS=...) and of --set; the later outdoes."""
    try:
        file = {} if loader_conf is None else read_loader_conf(loader_conf)
        return {**file, **from_environ(os.environ), **tunables(sets)}
    except OSError as error:
        raise Refused(f"{loader_conf}: {error.strerror}") from None
    except Inval as error:
        raise Refused(str(error)) from None


@contextmanager
def warnings_told() -> Iterator[None]:
    """Within it, what is odd about tunables is told in a line each."""

    def tell(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, TunableWarning):
            click.echo(f"mbuf: {plain(str(message))}", err=True)
        else:
            show(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", TunableWarning)
        show = warnings.showwarning
        warnings.showwarning = tell
        yield
