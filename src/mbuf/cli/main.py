"""The command `mbuf`: the group of commands, and `--version`.

Each command is in a module of its own, which is imported when the command is run; `mbuf --help` needs only the table
in this module.

Exit codes: 0 all done; 1 done, except for captures that couldn't be read to their end; 2 not done, and a line on
standard error says why; 130 interrupted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any

import click

from mbuf import __version__
from mbuf.cli.options import CommandError

#: Each command with its module and what `mbuf --help` prints.
_COMMANDS = MappingProxyType(
    {
        "collect": ("mbuf.cli.collect", "Print the reports of programs that ran out of mbufs."),
        "relay": ("mbuf.cli.relay", "Relay datagrams or streams in bounded memory."),
        "replay": ("mbuf.cli.replay.command", "Replay captures and report which limit is reached."),
        "serve": ("mbuf.cli.serve", "Serve files over HTTP in bounded memory."),
        "sysctl": ("mbuf.cli.sysctl", "Print the limits of a machine, or test new ones."),
        "where": ("mbuf.cli.where", "Print where a kernel name is in this library."),
    }
)


class CommandGroup(click.Group):
    """The commands of the table. An error of click takes one line, and an interrupt ends a command silently."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (_, text) in _COMMANDS.items():
            self.add_command(click.Command(name, short_help=text))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Import the command that is run: those of the table have only a name and a text."""
        name, command, rest = super().resolve_command(ctx, args)
        if name and name in _COMMANDS:
            command = getattr(import_module(_COMMANDS[name][0]), name)
        return name, command, rest

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments of `mbuf`."""
        with _one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Parse the arguments of the command, and run it."""
        with _one_line(ctx):
            return super().invoke(ctx)


@contextmanager
def _one_line(ctx: click.Context | None = None) -> Iterator[None]:
    """Turn click's errors, which take three lines, into a `CommandError`. `ctx` has the command that is run."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None
    except click.UsageError as error:
        text = error.format_message().rstrip(".")
        if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
            raise CommandError(error.message.rstrip(".")) from None
        # Some errors of the command's options have no context of their own.
        command = error.ctx.command.name if error.ctx and error.ctx.parent else ctx and ctx.invoked_subcommand
        raise CommandError(f"{text}: see mbuf {f'{command} ' if command else ''}--help") from None


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="mbuf", help="Print the version and exit.")
def main() -> None:
    """Tools for FreeBSD's network buffers (mbufs): plan limits, replay captures, relay and serve data."""
