"""Replays traces of the kernel's own code, and compares the full state after each operation.

    python tests/conformance/replay.py [--pure] [FILE...]

A trace is a program of operations with the state that FreeBSD 13 reached after each. A program with
an operation that `ops` doesn't have is skipped. `--pure` replays on this tree's uncompiled sources.
"""

import argparse
import gzip
import json
import logging
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
if __name__ == "__main__" and "--pure" in sys.argv:
    # Before mbuf is imported.
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from conformance.adapters import adapt, is_null, null_result
from conformance.expected import NOTHING, Difference, ExpectedState, expect, expect_same
from conformance.machine import Machine
from conformance.ops import OPS, missing_operation
from mbuf import MbufError
from mbuf.kinds import KINDS

HERE = Path(__file__).parent
TRACES = HERE / "traces"

#: Cases in which the kernel fails and the library succeeds.
SUCCEEDS_HERE = ("asserts/dn_drain_after_cluster_use",)

#: Cases in which the library already refuses an earlier operation, which causes the failure.
REFUSED_EARLIER = {"free_bad_ext_type_mbuf": "extadd"}


class Program(NamedTuple):
    """Operations to perform in order; then `last`, if there is one, which must have that outcome."""

    name: str
    boot: dict[str, Any]
    ops: list[dict[str, Any]]
    last: dict[str, Any] | None = None
    outcome: str = ""


def load(path: Path) -> list[Program]:
    """The programs of a file, which holds one trace or many cases."""
    text = gzip.decompress(path.read_bytes()).decode()
    header, end = json.JSONDecoder().raw_decode(text)
    if header["format"] == "mbuf-asserts":
        return list(map(_case, header["cases"]))
    return [Program(header["name"], header["boot"], [json.loads(line) for line in text[end:].split("\n") if line])]


def _case(case: dict[str, Any]) -> Program:
    """A program whose last operation fails, or the first one with the name in `REFUSED_EARLIER`."""
    ops = [*case["ops"], case["last"]]
    names = [op["op"] for op in ops]
    end = names.index(REFUSED_EARLIER[case["name"]]) if case["name"] in REFUSED_EARLIER else len(ops) - 1
    return Program(f"asserts/{case['name']}", case["boot"], ops[:end], ops[end], case["outcome"])


def missing(program: Program) -> str | None:
    """The first operation of a program that `ops` doesn't have; None if it has all."""
    ops = program.ops + ([program.last] if program.last else [])
    return next(filter(None, map(missing_operation, ops)), None)


def replay(program: Program) -> int:
    """Run a program, and return the number of its operations. Raises `Difference`.

    The traces were recorded without caches. What is cached counts against a limit, and shows nowhere else: so a program
    that sets no limit runs with caches too.
    """
    if not program.boot.get("tun", {}).keys() & {kind.sysctl for kind in KINDS}:
        _run(program, caching=True)
    return _run(program, caching=False)


def _run(program: Program, caching: bool) -> int:
    machine = Machine(program.boot, caching)
    expected = ExpectedState()
    index = -1
    try:
        for op in program.ops:
            index += 1
            expected.compare(op, _perform(machine, op), machine)
        if program.last:
            index, op = index + 1, program.last
            outcome = "returned" if program.outcome == "returned" or program.name in SUCCEEDS_HERE else "raised"
            expect("outcome", outcome, _outcome(machine, op))
        expect("left over", {}, {name: count for name, count in machine.close().items() if count})
    except Exception as error:  # any error is a difference
        with suppress(Exception):
            machine.close()
        text = error if isinstance(error, Difference) else repr(error)
        where = "" if caching else " (without caches)"
        raise Difference(f"op {index} {op['op']}: {text}{where}") from error
    return index + 1


def _perform(machine: Machine, op: dict[str, Any]) -> Any:
    """The result of an operation; if it fails where the kernel failed, the kernel's result."""
    machine.ev = []
    machine.faults.refused = False
    # A failure must change nothing.
    before = machine.state() if machine.faults.active or op.get("r") == null_result(op) else None
    try:
        return OPS[op["op"]](machine, op)
    except Exception as error:  # any error is a difference
        if before is None or op.get("r") != null_result(op) or not is_null(machine, op, error):
            raise Difference(f"r: expected {op.get('r', NOTHING)}, got {error!r}") from error
        expect("ev", [], machine.ev)
        expect_same(before, machine.state())
    finally:
        machine.after_operation()
    adapt(machine, op)
    return null_result(op)


def _outcome(machine: Machine, op: dict[str, Any]) -> str:
    """Perform an operation that may fail; if it does, it must change nothing."""
    before = machine.state()
    try:
        OPS[op["op"]](machine, op)
    except (MbufError, TypeError, ValueError):
        expect_same(before, machine.state())
        return "raised"
    finally:
        machine.after_operation()
    return "returned"


def report(program: Program) -> tuple[str, str]:
    """Replay a program: passed, failed or skipped, and a line of text."""
    unknown = missing(program)
    if unknown:
        return "skipped", f"{program.name}: skipped (operation {unknown} is not built)"
    try:
        return "passed", f"{program.name}: ok ({replay(program)} ops)"
    except Difference as difference:
        return "failed", f"{program.name}: {difference}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Replay traces of the kernel's own code.")
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="default: all files in traces/")
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
