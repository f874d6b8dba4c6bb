"""`mbuf replay`: its options, and what it prints."""

import json
import os

import click

from mbuf.cli.format import printable
from mbuf.cli.machine import boot_tunables, machine_options, memory, warnings_on_stderr
from mbuf.cli.options import DESCRIPTORS, MTU, QUEUES, RATE, SECONDS, SPEED, TIMES, CommandError
from mbuf.cli.progress import progress_bar
from mbuf.cli.replay import output
from mbuf.cli.replay.engine import Settings
from mbuf.cli.replay.run import ReplayOptions, ReplayRun
from mbuf.cli.statusline import is_dumb
from mbuf.errors import Inval


@click.command()
@click.argument("captures", metavar="CAPTURE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--queues", type=QUEUES, default=1, help="Receive queues (rings) of the network card.")
@click.option("--descriptors", type=DESCRIPTORS, default=1024, help="Descriptors of each ring.")
@click.option("--mtu", type=MTU, default=1500, help="MTU of the interface; sets the size of the clusters.")
@click.option("--hold", type=SECONDS, help="Time that each packet waits in its socket buffer.  [default: 0.1]")
@click.option("--drain-rate", type=RATE, help="Instead of --hold: packets that the application reads per second.")
@click.option("--speed", type=SPEED, default="1x", help="Replay SPEED times as fast as captured.")
@click.option("--loop", "loops", type=TIMES, metavar="N", default=1, help="Replay all captures N times.")
@machine_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("--trace", is_flag=True, help="Print a line for each mbuf allocated or freed, as DTrace does.")
@click.pass_context
def replay(
    context: click.Context,
    captures: tuple[str, ...],
    queues: int,
    descriptors: int,
    mtu: int,
    ncpu: int,
    hold: float | None,
    drain_rate: float | None,
    speed: float,
    loops: int,
    physmem: float | None,
    loader_conf: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    trace: bool,
) -> None:
    """Replay captures through FreeBSD's mbuf allocator, and report which limit is reached.

    Each packet uses what it would use on FreeBSD: a descriptor of a receive ring with its cluster (2048 bytes if a
    frame of the MTU fits, else 4096; longer frames use several). The packet waits in a socket buffer until the
    application reads it. The ring gets a new cluster at once. If there is none, the descriptor stays empty until the
    next packet. A packet that finds too few descriptors with a cluster is dropped.

    The captures follow one another without a pause, and pauses of more than 10 seconds are cut to 10 seconds. If
    timestamps go back, the time stops. All packets of a flow (addresses and ports) use the same queue. The queues are
    assigned to the CPUs in turn. With --speed, the seconds of --hold and --drain-rate are those of
    the faster traffic.
    """
    if hold is not None and drain_rate is not None:
        raise CommandError("--hold and --drain-rate: give only one of them")
    if trace and as_json:
        raise CommandError("--trace and --json: give only one of them")
    hold = 0.1 if hold is None else hold
    model = Settings(queues, descriptors, mtu, ncpu, hold, drain_rate, speed)
    with warnings_on_stderr():
        tunables = boot_tunables(loader_conf, settings)
        result = _run(ReplayOptions(captures, loops, memory(physmem), tunables, model), trace)
    if result.unreadable and not result.interrupted:
        context.exit(2)
    text = json.dumps(output.json(result), indent=2) + "\n" if as_json else output.text(result)
    # Coloured on a terminal that has colours, unless NO_COLOR is set.
    click.echo(text, nl=False, color=False if is_dumb() or os.environ.get("NO_COLOR") else None)
    context.exit(130 if result.interrupted else 1 if result.errors else 0)


def _run(options: ReplayOptions, trace: bool) -> output.ReplayResult:
    with progress_bar("replay", options.total) as on_progress:
        try:
            return ReplayRun(options, on_progress, _print_error, on_trace=_print_trace if trace else None).run()
        except Inval as error:
            raise CommandError(str(error)) from None


def _print_error(line: str) -> None:
    click.echo(f"mbuf: {printable(line)}", err=True)


def _print_trace(line: str) -> None:
    """Print a line of the trace, or exit if it is the input of a program that has ended, as `head`."""
    try:
        click.echo(line)
    except BrokenPipeError:
        raise SystemExit(1) from None
