"""Replays traces of the kernel's own code, and compares the whole state after every operation.

    python tests/conformance/replay.py [--pure] [FILE...]

A trace is a program of operations with the state that FreeBSD 13 reached after each. Programs with
operations that aren't built yet are skipped. `--pure` replays on this tree's uncompiled sources.
"""

import argparse
import gzip
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
if __name__ == "__main__" and "--pure" in sys.argv:
    # Before anything is imported: where nothing is installed, this is all there is.
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from conformance.machine import DRAINS, Machine
from conformance.ops import OPS, is_null, unbuilt
from mbuf import MbufError
from mbuf.pool.limits import KINDS

HERE = Path(__file__).parent
TRACES = HERE / "traces"

#: Fields that hold the identity of something, and of what.
IDENTITIES = {"id": "mbuf", "np": "mbuf", "b": "buffer"}

#: What is shown for a field that isn't there.
NOTHING = "nothing"


class Program(NamedTuple):
    """Operations to perform one after the other; `last`, if there is one, with that outcome."""

    name: str
    boot: dict[str, Any]
    ops: list[dict[str, Any]]
    last: dict[str, Any] | None = None
    outcome: str = ""


class Difference(AssertionError):
    """The library did something else than the kernel."""


def load(path: Path) -> list[Program]:
    """The programs of a file, which holds one trace or many cases."""
    text = gzip.decompress(path.read_bytes()).decode()
    header, end = json.JSONDecoder().raw_decode(text)
    if header["format"] == "mbuf-asserts":
        return [
            Program(f"asserts/{case['name']}", case["boot"], case["ops"], case["last"], case["outcome"])
            for case in header["cases"]
        ]
    return [Program(header["name"], header["boot"], [json.loads(line) for line in text[end:].split("\n") if line])]


def missing(program: Program) -> str | None:
    """The first operation of a program that isn't built; None if all are."""
    ops = program.ops + ([program.last] if program.last else [])
    return next(filter(None, map(unbuilt, ops)), None)


def replay(program: Program) -> int:
    """Run a program; how many operations it has. Raises `Difference`.

    The reference cached nothing. Caches show in nothing but limits, which what they keep is charged to:
    so a program runs with them too, unless it sets a limit.
    """
    if not program.boot.get("tun", {}).keys() & {kind.sysctl for kind in KINDS}:
        _run(program, caching=True)
    return _run(program, caching=False)


def _run(program: Program, caching: bool) -> int:
    machine = Machine(program.boot, caching)
    known = Known()
    index = -1
    try:
        for op in program.ops:
            index += 1
            known.compare(op, _perform(machine, op), machine)
        if program.last:
            index, op = index + 1, program.last
            _perform_last(machine, op, program.outcome)
        _expect("left over", {}, {name: count for name, count in machine.close().items() if count})
    except Difference as difference:
        machine.close()
        where = "" if caching else " (without caches)"
        raise Difference(f"op {index} {op['op']}: {difference}{where}") from difference.__cause__
    return index + 1


def _perform(machine: Machine, op: dict[str, Any]) -> Any:
    """What an operation returns; 0 where the kernel returns NULL."""
    machine.ev = []
    try:
        return OPS[op["op"]](machine, op)
    except Exception as error:  # whatever it is, the kernel did something else
        if is_null(op, error):
            return 0
        raise Difference(f"r: expected {op.get('r', NOTHING)}, got {error!r}") from error
    finally:
        machine.settle()


def _perform_last(machine: Machine, op: dict[str, Any], outcome: str) -> None:
    """Where the kernel would have stopped, the library raises and leaves all as it was."""
    before = _state(machine)
    try:
        OPS[op["op"]](machine, op)
        result = "returned"
    except (MbufError, TypeError, ValueError):
        result = "raised"
    machine.settle()
    _expect("outcome", "returned" if outcome == "returned" else "raised", result)
    if result == "raised":
        after = _state(machine)
        for path in before | after:
            _expect(f"state.{path}", before.get(path, NOTHING), after.get(path, NOTHING))


def _state(machine: Machine) -> dict[str, Any]:
    """All that a refused call leaves alone: everything but the drains, which it may ask for."""
    counters = {name: count for name, count in machine.counters().items() if name not in DRAINS}
    return dict(flat("", machine.descriptions() | counters))


class Known:
    """The state that the trace has told of so far; what it doesn't mention again must stay.

    Identities are compared one to one: the same number is the same object for as long as it lives.
    """

    def __init__(self) -> None:
        self._chains: dict[int, dict[str, Any]] = {}
        self._counters: dict[str, int] = {}
        self._drained: dict[str, int] = {}
        self._objects: dict[tuple[str, int], int] = {}

    def compare(self, op: dict[str, Any], result: Any, machine: Machine) -> None:
        """Find all as the trace says that it is after an operation, or raise `Difference`."""
        _expect("r", op.get("r"), result)
        _expect("ev", op.get("ev", []), machine.ev)
        for handle, chain in op.get("chg", {}).items():
            if chain is None:
                del self._chains[int(handle)]
            else:
                self._chains[int(handle)] = dict(flat("", chain))
        self._compare_chains(machine.descriptions())
        self._compare_counters(op.get("st", {}), machine.counters())

    def _compare_chains(self, found: dict[int, Any]) -> None:
        _expect("handles", sorted(self._chains), sorted(found))
        numbers: dict[tuple[str, int], int] = {}
        for handle, chain in self._chains.items():
            ours = dict(flat("", found[handle]))
            for field in chain | ours:
                wanted, got = chain.get(field, NOTHING), ours.get(field, NOTHING)
                kind = IDENTITIES.get(field.rpartition(".")[2])
                if kind and NOTHING not in (wanted, got):
                    got = self._number(kind, wanted, got, numbers)
                _expect(f"chain {handle} mbuf {field}", wanted, got)

    def _number(self, kind: str, number: int, ours: int, numbers: dict[tuple[str, int], int]) -> Any:
        """The trace's number of an object of ours: the wanted one if nothing speaks against it."""
        if self._objects.setdefault((kind, number), ours) != ours:
            return f"another {kind}"
        return numbers.setdefault((kind, ours), number)

    def _compare_counters(self, changed: dict[str, int], found: dict[str, int]) -> None:
        before, self._counters = self._counters, self._counters | changed
        drained, self._drained = self._drained, {name: found[name] for name in DRAINS}
        _expect("counters", sorted(self._counters), sorted(found))
        for name, wanted in self._counters.items():
            if name not in DRAINS:
                _expect(name, wanted, found[name])
            elif before:
                # How often is left open, whether at all is not.
                _expect(f"{name} called", wanted > before[name], found[name] > drained[name])


def flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is in nested lists and mappings, by path: `0.x.rc`."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(f"{path}.{key}" if path else str(key), inner)
    else:
        yield path, value


def _expect(what: str, wanted: Any, got: Any) -> None:
    if wanted != got:
        raise Difference(f"{what}: expected {wanted}, got {got}")


def report(program: Program) -> tuple[str, str]:
    """Replay a program; what became of it, in a word and in a line."""
    lacking = missing(program)
    if lacking:
        return "skipped", f"{program.name}: skipped (operation {lacking} is not built)"
    try:
        return "passed", f"{program.name}: ok ({replay(program)} ops)"
    except Difference as difference:
        return "failed", f"{program.name}: {difference}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Replay traces of the kernel's own code.")
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="default: all that are kept here")
    parser.add_argument("--pure", action="store_true", help="replay on the uncompiled sources")
    options = parser.parse_args()
    logging.disable()
    counts: Counter[str] = Counter()
    for path in options.files or sorted(TRACES.glob("*.json*.gz")):
        for program in load(path):
            word, line = report(program)
            counts[word] += 1
            print(line, flush=True)
    print(", ".join(f"{counts[word]} {word}" for word in ("passed", "failed", "skipped")))
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
