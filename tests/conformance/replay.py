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
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
if __name__ == "__main__" and "--pure" in sys.argv:
    # Before anything is imported: where nothing is installed, this is all there is.
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from conformance.bridges import bridge, is_null, null
from conformance.known import NOTHING, Difference, Known, expect, expect_same
from conformance.machine import Machine
from conformance.ops import OPS, unbuilt
from mbuf import MbufError
from mbuf.kinds import KINDS

HERE = Path(__file__).parent
TRACES = HERE / "traces"

#: Cases in which the library does well what the kernel does not.
SOUND = ("asserts/dn_drain_after_cluster_use",)

#: Cases in which the library refuses an operation before the last, which is the cause of the trouble.
EARLIER = {"free_bad_ext_type_mbuf": "extadd"}


class Program(NamedTuple):
    """Operations to perform one after the other; `last`, if there is one, with that outcome."""

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
    """A program that is to be stopped at its last operation, or at the first one of those in `EARLIER`."""
    ops = [*case["ops"], case["last"]]
    names = [op["op"] for op in ops]
    end = names.index(EARLIER[case["name"]]) if case["name"] in EARLIER else len(ops) - 1
    return Program(f"asserts/{case['name']}", case["boot"], ops[:end], ops[end], case["outcome"])


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
            wanted = "returned" if program.outcome == "returned" or program.name in SOUND else "raised"
            expect("outcome", wanted, _outcome(machine, op))
        expect("left over", {}, {name: count for name, count in machine.close().items() if count})
    except Exception as error:  # whatever it is, the kernel did something else
        with suppress(Exception):
            machine.close()
        said = error if isinstance(error, Difference) else repr(error)
        where = "" if caching else " (without caches)"
        raise Difference(f"op {index} {op['op']}: {said}{where}") from error
    return index + 1


def _perform(machine: Machine, op: dict[str, Any]) -> Any:
    """What an operation returns; if it fails as the kernel's did, what the kernel's returned."""
    machine.ev = []
    machine.faults.refused = False
    # What may fail is looked at before, for it must have changed nothing then.
    before = machine.state() if machine.faults.armed or op.get("r") == null(op) else None
    try:
        return OPS[op["op"]](machine, op)
    except Exception as error:  # whatever it is, the kernel did something else
        if before is None or op.get("r") != null(op) or not is_null(machine, op, error):
            raise Difference(f"r: expected {op.get('r', NOTHING)}, got {error!r}") from error
        expect("ev", [], machine.ev)
        expect_same(before, machine.state())
    finally:
        machine.settle()
    bridge(machine, op)
    return null(op)


def _outcome(machine: Machine, op: dict[str, Any]) -> str:
    """Perform what may be refused; then it leaves all as it was."""
    before = machine.state()
    try:
        OPS[op["op"]](machine, op)
    except (MbufError, TypeError, ValueError):
        expect_same(before, machine.state())
        return "raised"
    finally:
        machine.settle()
    return "returned"


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
