"""Small programs that attack a pool, each run in a process of its own, for it may crash or never end.

A program is a function decorated with `case`, which is given a `Scene`. When it has returned, and so dropped what it
had, the scene looks whether other packets' bytes are as they were, nothing is in use, and all pages are given back.
Run one by hand with `python -m cases.harness NAME`.
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

#: Seconds after which a program is taken for one that never ends.
LIMIT = 60

CASES: dict[str, Callable[["Scene"], object]] = {}


class Scene:
    """A pool, and packets of others in it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.others = [pool.getcl().append(_text(n)) for n in range(20)]

    def unharmed(self) -> None:
        """Assert that the packets of others have the bytes that they had."""
        for n, m in enumerate(self.others):
            assert bytes(m) == _text(n), f"packet {n} of another program: {bytes(m)[:20]!r}"

    def refill(self, count: int = 300) -> None:
        """More packets of others, which get the memory that was freed last."""
        for _ in range(count):
            self.others.append(self.pool.getcl().append(_text(len(self.others))))

    def end(self) -> None:
        """Assert that all is whole, and close the pool."""
        self.unharmed()
        while self.others:
            self.others.pop().freem()
        gc.collect()
        audit = getattr(self.pool, "audit", None)
        if audit is not None:
            audit()
        assert self.pool.out == 0, f"{self.pool.out} mbufs are still out"
        self.pool.drain()
        assert self.pool.close() == 0
        assert self.pool.vm.used == 0, f"{self.pool.vm.used} pages are still used"


def _text(n: int) -> bytes:
    return b"%04d of another" % n * 7


def case(fn: Callable[..., object] | None = None, *, each: Iterable[Any] = (), names: Iterable[str] = ()) -> Any:
    """Register a program; with `each`, one for each of those, which is its second argument."""

    def register(fn: Callable[..., object]) -> Callable[..., object]:
        base = f"{fn.__module__.rpartition('.')[2]}.{fn.__name__}"
        if not every:
            CASES[base] = fn
        for label, thing in zip(labels, every, strict=True):
            CASES[f"{base}[{label}]"] = lambda scene, thing=thing: fn(scene, thing)
        return fn

    every = list(each)
    labels = list(names) or [getattr(thing, "__name__", str(thing)) for thing in every]
    return register if fn is None else register(fn)


def load() -> dict[str, Callable[[Scene], object]]:
    """All programs by name."""
    for name in MODULES:
        importlib.import_module(f"cases.{name}")
    return CASES


def run(name: str) -> None:
    """Run one program here."""
    scene = Scene(Pool(Vm(64 << 20), worker=False))
    load()[name](scene)
    scene.end()


def refused(call: Callable[[], object], *errors: type[BaseException]) -> BaseException | None:
    """Call it; what it raises must be one of these errors. Returns that, or None if it raised nothing."""
    try:
        call()
    except errors as error:
        return error.with_traceback(None)
    return None


class Runner:
    """A process that has everything imported, and forks for each program."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(Path(__file__).parents[1]), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str) -> tuple[int | None, str]:
        """Run a program: how that ended (below 0 by a signal, None if it never did), and what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        code, output = json.loads(self._process.stdout.readline())
        return code, output

    def close(self) -> None:
        """End it."""
        self._process.communicate()


#: Imports this module by its name, so that there is one of it.
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
    output, late = bytearray(), time.monotonic() + LIMIT
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
    """Run a program, and tell errors that nobody could catch."""
    faulthandler.enable()
    stray: list[BaseException | None] = []
    sys.unraisablehook = lambda found: stray.append(found.exc_value)
    try:
        run(name)
        # Compiled, nothing of a program's ever runs in the middle of a step.
        assert not compiled() or not any(isinstance(error, Busy) for error in stray)
    finally:
        for error in stray[:20]:
            print("unraisable:", repr(error))


def main() -> None:
    """Run the program that the command line names, or serve."""
    if sys.argv[1] == "--serve":
        _serve()
    else:
        _one(sys.argv[1])


def chain(pool: Pool, *sizes: int) -> Mbuf:
    """A packet of mbufs with clusters, so many bytes in each."""
    m = last = pool.getcl().append(bytes(range(256)) * 8 if sizes[0] > 2048 else bytes(sizes[0]))
    for size in sizes[1:]:
        last.next = pool.getcl(flags=0).append(bytes(size))
        last = last.next
    m.fixhdr()
    return m


if __name__ == "__main__":
    # The programs register themselves in the module of this name.
    importlib.import_module("cases.harness").main()
