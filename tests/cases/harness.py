"""Runs small programs that attack a pool, each in a process of its own, because it may crash or hang.

A program is a function decorated with `case`, whose argument is a `Context`. After it has returned, the context checks
that the bytes of unrelated packets haven't changed, nothing is in use, and all pages are given back.
`python -m cases.harness NAME` runs one.
"""

import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mbuf import Busy, Mbuf, Pool, Vm, compiled

MODULES = ("arguments", "callbacks", "depth", "internals", "links", "signals", "threads", "waiting")

#: Seconds after which a program counts as hanging.
TIMEOUT = 60

CASES: dict[str, Callable[["Context"], object]] = {}


class Context:
    """A pool, and packets in it that the program must not change."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.others = [pool.getcl().append(_text(n)) for n in range(20)]

    def check_others(self) -> None:
        """Assert that the bytes of the other packets haven't changed."""
        for n, m in enumerate(self.others):
            assert bytes(m) == _text(n), f"unrelated packet {n}: {bytes(m)[:20]!r}"

    def refill(self, count: int = 300) -> None:
        """Make more of the other packets, which get the memory that was freed last."""
        for _ in range(count):
            self.others.append(self.pool.getcl().append(_text(len(self.others))))

    def end(self) -> None:
        """Assert that nothing is damaged or in use, and close the pool."""
        self.check_others()
        while self.others:
            self.others.pop().freem()
        gc.collect()
        audit = getattr(self.pool, "audit", None)
        if audit is not None:
            audit()
        assert self.pool.out == 0, f"{self.pool.out} mbufs are still in use"
        self.pool.drain()
        assert self.pool.close() == 0
        assert self.pool.vm.used == 0, f"{self.pool.vm.used} pages are still used"


def _text(n: int) -> bytes:
    return b"%04d of another" % n * 7


def case(fn: Callable[..., object] | None = None, *, each: Iterable[Any] = (), names: Iterable[str] = ()) -> Any:
    """Register a program; with `each`, one program for each item, which is its second argument."""

    def register(fn: Callable[..., object]) -> Callable[..., object]:
        base = f"{fn.__module__.rpartition('.')[2]}.{fn.__name__}"
        if not every:
            CASES[base] = fn
        for label, thing in zip(labels, every, strict=True):
            CASES[f"{base}[{label}]"] = lambda context, thing=thing: fn(context, thing)
        return fn

    every = list(each)
    labels = list(names) or [getattr(thing, "__name__", str(thing)) for thing in every]
    return register if fn is None else register(fn)


def load() -> dict[str, Callable[[Context], object]]:
    """All programs by name."""
    for name in MODULES:
        importlib.import_module(f"cases.{name}")
    return CASES


def run(name: str) -> None:
    """Run one program in this process."""
    context = Context(Pool(Vm(64 << 20), worker=False))
    load()[name](context)
    context.end()


def refused(call: Callable[[], object], *errors: type[BaseException]) -> BaseException | None:
    """Call it; it may only raise these errors. Returns the error, or None."""
    try:
        call()
    except errors as error:
        return error.with_traceback(None)
    return None


class Runner:
    """A process that has imported all programs, and forks for each one."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(Path(__file__).parents[1]), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str) -> tuple[int | None, str]:
        """Run a program: its exit code (negative for a signal, None for a hang), and its output."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        code, output = json.loads(self._process.stdout.readline())
        return code, output

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


#: Imports this module by its name, so that it exists only once.
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cases import harness; harness.main()"


def _serve() -> None:
    load()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_forked(line.strip())), flush=True)


def _forked(name: str) -> tuple[int | None, str]:
    """Run a program in a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            os.closerange(3, 100)
            try:
                _one(name)
                code = 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(writer)
    output, late = bytearray(), time.monotonic() + TIMEOUT
    with open(reader, "rb", buffering=0) as pipe:
        while time.monotonic() < late:
            if select.select([pipe], [], [], 0.5)[0]:
                piece = pipe.read(65536)
                if not piece:
                    break
                output += piece
        else:
            os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (None if code == -signal.SIGKILL else code), output[-5000:].decode("utf-8", "replace")


def _one(name: str) -> None:
    """Run a program, and print unraisable exceptions."""
    faulthandler.enable()
    unraisable: list[BaseException | None] = []
    sys.unraisablehook = lambda found: unraisable.append(found.exc_value)
    try:
        run(name)
        # Compiled, no code of a program runs in a commit.
        assert not compiled() or not any(isinstance(error, Busy) for error in unraisable)
    finally:
        for error in unraisable[:20]:
            print("unraisable:", repr(error))


def main() -> None:
    """Run the program that the command line names, or those named on standard input."""
    if sys.argv[1] == "--serve":
        _serve()
    else:
        _one(sys.argv[1])


def chain(pool: Pool, *sizes: int) -> Mbuf:
    """A packet of mbufs with clusters, with so many bytes in each."""
    m = last = pool.getcl().append(bytes(range(256)) * 8 if sizes[0] > 2048 else bytes(sizes[0]))
    for size in sizes[1:]:
        last.next = pool.getcl(flags=0).append(bytes(size))
        last = last.next
    m.fixhdr()
    return m


if __name__ == "__main__":
    # The programs register in the module with this name.
    importlib.import_module("cases.harness").main()
