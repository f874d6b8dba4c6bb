"""The machine that a command models: its memory, its CPUs and its tunables.

The options that commands share, and how they are read, together with the environment.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from mbuf.cli.format import printable
from mbuf.cli.options import CPUS, SIZE, CommandError
from mbuf.errors import Inval, TunableWarning
from mbuf.pool.suggest import unknown
from mbuf.pool.tunable_checks import read
from mbuf.pool.tunables import NAMES, from_environ, read_loader_conf
from mbuf.vm.vm import host_memory

_OPTIONS = (
    click.option("--ncpu", type=CPUS, default=1, help="CPUs; each has caches of its own."),
    click.option(
        "--physmem", type=SIZE, help="Memory of the machine, for example 4G.  [default: that of this machine]"
    ),
    click.option("--loader-conf", metavar="FILE", help="Read tunables from a file such as /boot/loader.conf."),
    click.option(
        "--set",
        "settings",
        metavar="NAME=VALUE",
        multiple=True,
        help="Set a tunable; overrides the file and the environment.",
    ),
)


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a machine: `ncpu`, `physmem`, `loader_conf` and `settings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def memory(physmem: float | None) -> int:
    """Return the bytes of memory: those of --physmem, or of this machine."""
    return host_memory() if physmem is None else int(physmem)


def boot_tunables(loader_conf: str | None, settings: tuple[str, ...]) -> dict[str, int | str]:
    """Return the tunables of the file, of the environment (MBUF_NMBCLUSTERS=...) and of --set; the last one counts."""
    try:
        file = {} if loader_conf is None else read_loader_conf(loader_conf)
        return {**file, **from_environ(os.environ), **parse_settings(settings)}
    except OSError as error:
        raise CommandError(f"{loader_conf}: {error.strerror}") from None
    except Inval as error:
        raise CommandError(str(error)) from None


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """Return the tunables of NAME=VALUE texts, in the order in which they count. Raises `CommandError`."""
    tunables: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise CommandError(f"--set {setting}: give NAME=VALUE")
        if name not in NAMES:
            raise CommandError(f"--set {setting}: {unknown('tunable', name, NAMES)}")
        number = read(name, value)
        if number is None or value.lstrip().startswith("-"):
            raise CommandError(f"--set {setting}: give a number from 0 on, with or without a unit (k, m, g, t)")
        tunables.pop(name, None)
        tunables[name] = value
    return tunables


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Within it, each warning about a tunable is a line on standard error."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, TunableWarning):
            click.echo(f"mbuf: {printable(str(message))}", err=True)
        else:
            original(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", TunableWarning)
        original = warnings.showwarning
        warnings.showwarning = show
        yield
