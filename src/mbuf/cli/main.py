"""The command `mbuf`.

Options, standard output and exit codes; what a command does is elsewhere. Exit codes: 0 done, 1 done as far
as the input was in order, 2 not to be done, 130 interrupted.
"""

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import click

from mbuf.cli import sysctl as tree
from mbuf.cli.collect import collect
from mbuf.cli.format import plain
from mbuf.cli.machine import booted_with, machine_options, memory, warnings_told
from mbuf.cli.options import (
    CLIENTS,
    DESCRIPTORS,
    MEMORY,
    MTU,
    PATIENCE,
    PORT,
    QUEUES,
    RATE,
    SECONDS,
    SPEED,
    TIMES,
    Commands,
    Refused,
    readable,
)
from mbuf.cli.progress import progress
from mbuf.cli.relay import RelayOptions
from mbuf.cli.relay import relay as run_relay
from mbuf.cli.replay import output as report
from mbuf.cli.replay.engine import Settings
from mbuf.cli.replay.run import Job, ReplayRun
from mbuf.cli.serve import Service
from mbuf.cli.serve import serve as run_service
from mbuf.cli.statusline import liner
from mbuf.cli.where import where
from mbuf.errors import Inval
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm


def _version() -> str:
    try:
        return version("mbuf")
    except PackageNotFoundError:
        return "(not installed)"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(_version(), prog_name="mbuf")
def main() -> None:
    """FreeBSD's network buffers: how many does a machine need?"""


@main.command(short_help="Play captures, and tell which limit was reached.")
@click.argument("captures", metavar="CAPTURE...", nargs=-1, required=True)
@click.option("--queues", type=QUEUES, default=1, help="Receive rings.")
@click.option("--descriptors", type=DESCRIPTORS, default=1024, help="Slots of each ring.")
@click.option("--mtu", type=MTU, default=1500, help="Sets the size of clusters.")
@click.option("--hold", type=SECONDS, help="How long a packet waits in its socket buffer.  [default: 0.1]")
@click.option("--drain-rate", type=RATE, help="Instead: packets read out of socket buffers in a second.")
@click.option("--speed", type=SPEED, default="1x", help="How much faster than captured the packets come.")
@click.option("--loop", "loops", type=TIMES, default=1, help="How often to play all captures.")
@machine_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--trace", is_flag=True, help="Print a line for each mbuf got and freed, as DTrace would.")
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
    sets: tuple[str, ...],
    as_json: bool,
    trace: bool,
) -> None:
    """Play captures through the allocator, and tell which limit was reached.

    Every packet takes what it would take on FreeBSD: a descriptor of a receive ring and its cluster (of 2048
    bytes if frames of the MTU fit, else 4096; longer frames take several), which waits in a socket buffer
    until it is read. The ring is refilled at once. If that is denied the slot stays empty until the next
    packet; a packet that finds too few descriptors is dropped.

    Captures follow one another without a gap, and no gap is longer than 10 seconds; where timestamps go back,
    time stands still. A flow (by its addresses and ports) stays in one queue, and queues go round the CPUs.
    With --speed, --hold and --drain-rate are in seconds of the faster traffic.
    """
    if hold is not None and drain_rate is not None:
        raise Refused("--hold and --drain-rate: give one of them")
    if trace and as_json:
        raise Refused("--trace and --json: give one of them")
    hold = 0.1 if hold is None else hold
    settings = Settings(queues, descriptors, mtu, ncpu, hold, drain_rate, speed)
    with warnings_told():
        job = Job(readable(captures), loops, memory(physmem), booted_with(loader_conf, sets), settings)
        run = _run(job, _traced if trace else None)
    _print(json.dumps(report.json(run), indent=2) + "\n" if as_json else report.text(run))
    context.exit(130 if run.interrupted else 1 if run.errors else 0)


@main.command(short_help="Serve files over HTTP, in bounded memory.")
@click.argument("folder", metavar="DIR")
@click.option("--address", default="127.0.0.1", help="Where to listen; 0.0.0.0 or :: for everybody.")
@click.option("--port", type=PORT, default="8000", help="And on which port; 0 for any.")
@click.option("--memory", type=MEMORY, default="16M", help="For mbufs: what all clients together use.")
@click.option("--patience", type=PATIENCE, default="15", help="Seconds for which a client may do nothing.")
@click.option("--clients", type=CLIENTS, default="256", help="At a time; more wait for their turn.")
@click.option("--quiet", is_flag=True, help="Print no line for each request.")
def serve(folder: str, address: str, port: int, memory: float, patience: float, clients: int, quiet: bool) -> None:
    """Serve the files beneath DIR over HTTP, until Ctrl-C.

    A file is sent as mbufs that name its pages, by sendfile(2): its bytes never enter the process, and however
    many clients there are, however slow, the mbufs are bounded by --memory; who finds none waits. GET and
    HEAD, ranges, If-Range and the like; index.html or a list for a directory; no link that leads out of DIR.
    """
    if not os.path.isdir(folder):
        raise Refused(
            f"{folder}: is no directory"
            if os.path.exists(folder)
            else f"{folder or repr(folder)}: there is no such directory"
        )
    try:
        run_service(Service(folder, address, port, int(memory), patience, clients, quiet), _say)
    except Inval as error:
        raise Refused(str(error)) from None


@main.command("relay", short_help="Relay datagrams or streams, in bounded memory.")
@click.argument("listen", metavar="LISTEN")
@click.argument("dest", metavar="DEST")
@click.option("--memory", type=MEMORY, default="16M", help="For mbufs: what all clients together use.")
@click.option("--clients", type=CLIENTS, default=None, help="At a time.  [default: 1024 of UDP, else 16384]")
@click.option(
    "--patience", type=PATIENCE, help="Seconds for which a client may do nothing.  [default: 60 of UDP, else 15]"
)
@click.option("--interval", type=PATIENCE, help="Seconds between lines on how it goes.  [default: 1, on a terminal]")
def relay_command(
    listen: str, dest: str, memory: float, clients: int | None, patience: float | None, interval: float | None
) -> None:
    """Relay what comes to LISTEN to DEST, and back, until Ctrl-C.

    Addresses are udp://HOST:PORT, tcp://HOST:PORT or unix:PATH. Of UDP, each client's datagrams leave from a
    socket of their own; nobody waits, and what doesn't fit is dropped and counted. Of streams, who isn't read
    from isn't read: the more clients stand still, the less each may have on the way, and --memory bounds all.
    A client of UDP that is silent for --patience seconds is forgotten; of streams, one that takes nothing for so
    long is cut when others have no memory.
    """
    datagrams = listen.startswith("udp:")
    clients = (1024 if datagrams else 16384) if clients is None else clients
    patience = (60.0 if datagrams else 15.0) if patience is None else patience
    if interval is None and sys.stdout.isatty():
        interval = 1.0
    try:
        run_relay(RelayOptions(listen, dest, int(memory), clients, patience, interval), *liner(_say))
    except Inval as error:
        raise Refused(str(error)) from None


def _say(line: str) -> None:
    """Print a line at once, also into a pipe; that nobody reads it is no reason to stop."""
    try:
        click.echo(plain(line))
    except OSError:
        with open(os.devnull, "wb") as nobody:
            os.dup2(nobody.fileno(), sys.stdout.fileno())


@main.command(short_help="Print limits and numbers, or see what setting them does.")
@click.argument("names", metavar="[NAME[=VALUE]]...", nargs=-1)
@click.option("-a", "every", is_flag=True, help="Print all names.")
@click.option("-d", "describe", is_flag=True, help="Print descriptions instead of values.")
@click.option("-t", "types", is_flag=True, help="Print types instead of values.")
@click.option("-N", "names_only", is_flag=True, help="Print names alone.")
@click.option("-n", "values_only", is_flag=True, help="Print values alone.")
@click.option("-o", "opaque", is_flag=True, help="Print opaque values too: length and first bytes.")
@click.option("-x", "whole", is_flag=True, help="Print opaque values too: all bytes.")
@click.option("-b", "raw", is_flag=True, help="Print the bytes of values, and nothing else.")
@machine_options
@click.pass_context
def sysctl(
    context: click.Context,
    names: tuple[str, ...],
    every: bool,
    describe: bool,
    types: bool,
    names_only: bool,
    values_only: bool,
    opaque: bool,
    whole: bool,
    raw: bool,
    ncpu: int,
    physmem: float | None,
    loader_conf: str | None,
    sets: tuple[str, ...],
) -> None:
    """Read and set the sysctl tree of a machine that has just been booted.

    Tells what a machine of this memory and these tunables would have for its limits, and what it would answer
    to each setting, in the order given. NAME may be a branch, as kern.ipc or vm.uma.mbuf. With -b, the bytes
    of vm.zone_stats are those that libmemstat reads.
    """
    if every == bool(names):
        raise Refused("sysctl: give -a or names, not both" if every else "sysctl: give a name, or -a for all")
    if raw and [name for name in names if "=" in name]:
        raise Refused("sysctl -b: give names without values")
    style = tree.Style(names_only, values_only, describe, types, opaque, whole)
    with warnings_told(), _booted(memory(physmem), booted_with(loader_conf, sets), ncpu) as pool:
        for name in names:
            _known(pool, name)
        if raw:
            click.echo(b"".join(tree.raw(pool, name) for name in (pool.sysctl if every else names)), nl=False)
            return
        for line in tree.everything(pool, style) if every else ():
            click.echo(line)
        context.exit(2 if [name for name in names if not _sysctl(pool, name, style)] else 0)


def _booted(memory: int, tunables: dict[str, int | str], ncpu: int) -> Pool:
    try:
        return Pool(Vm(memory), tunables, ncpu, worker=False)
    except Inval as error:
        raise Refused(str(error)) from None


def _known(pool: Pool, argument: str) -> None:
    name, equals, _ = argument.partition("=")
    try:
        below = pool.sysctl.under(name)
    except KeyError as error:
        raise Refused(error.args[0]) from None
    if equals and below != (name,):
        raise Refused(f"{argument}: {name} is a branch, and has no value")


def _sysctl(pool: Pool, argument: str, style: tree.Style) -> bool:
    """Read or set; false if the kernel would refuse that."""
    name, equals, text = argument.partition("=")
    try:
        for line in (tree.setting(pool, name, text, style),) if equals else tree.listing(pool, name, style):
            click.echo(line)
    except Inval as error:
        click.echo(f"sysctl: {plain(str(error))}", err=True)
        return False
    return True


def _traced(line: str) -> None:
    """Print a line of a trace; where nobody reads on, there is no use in going on."""
    try:
        click.echo(line)
    except BrokenPipeError:
        raise SystemExit(1) from None


def _run(job: Job, trace: Callable[[str], object] | None) -> report.Run:
    with progress("replay", job.total) as tell:
        try:
            return ReplayRun(job, tell, lambda line: click.echo(f"mbuf: {plain(line)}", err=True), trace=trace).run()
        except Inval as error:
            raise Refused(str(error)) from None


def _print(text: str) -> None:
    """Print, with colours on terminals unless NO_COLOR is set."""
    click.echo(text, nl=False, color=False if os.environ.get("NO_COLOR") else None)


main.add_command(collect)
main.add_command(where)

if __name__ == "__main__":
    main(prog_name="mbuf")
