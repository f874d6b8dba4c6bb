"""Runs many cases in child processes: a crash ends one child only, and its case is reported.

python -m hostile.drive                    MBUF_HOSTILE_CASES cases (200,000) from a new seed
python -m hostile.drive CASE ...           those cases in this process: `make hostile` prints this command for a failure
python -m hostile.drive --seed 5 --cases 1000
"""

import argparse
import faulthandler
import gc
import mmap
import os
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from hostile.net import net_cases
from hostile.run import Case, CaseRunner, count, sample
from hostile.xfail import xfail_reason

#: Seconds after which a case counts as hanging.
TIMEOUT = 20
CHUNK = 2000


class Failure(NamedTuple):
    """A case that failed, and how."""

    case: Case
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.case}\n    {self.kind}: {self.text}\n    python -m hostile.drive '{self.case}'"


class Summary(NamedTuple):
    """The result of many cases: how many reached their hook, how many didn't, and the failures."""

    reached: int
    idle: int
    failures: list[Failure]


def run_all(cases: list[Case], limit: int = TIMEOUT) -> Summary:
    """Run cases in one child process at a time; after a crash the next child continues."""
    shared = mmap.mmap(-1, 32)
    failures: list[Failure] = []
    reached = idle = at = 0
    while at < len(cases):
        shared[:24] = struct.pack("qqq", at, 0, 0)
        code, output = _run_in_child(cases, at, shared, limit)
        now, more, less = struct.unpack("qqq", shared[:24])
        reached, idle = reached + more, idle + less
        for line in output.splitlines():
            n, _, text = line.partition("\t")
            if n.isdigit():
                kind, _, said = text.partition(": ")
                failures.append(Failure(cases[int(n)], kind, said))
        if code == 0:
            break
        kind = "hang" if code == -signal.SIGALRM else "crash"
        failures.append(Failure(cases[now], kind, f"the process ended with {code}"))
        reached += 1
        at = now + 1
    return Summary(reached, idle, failures)


def _run_in_child(cases: list[Case], at: int, shared: mmap.mmap, limit: int) -> tuple[int, str]:
    """Run cases from index `at` on in a child: its exit code, and its output."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reader)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            _run_here(cases, at, shared, limit, writer)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    pieces = []
    with open(reader, "rb", buffering=0) as pipe:
        while piece := pipe.read(65536):
            pieces.append(piece)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), b"".join(pieces).decode("utf-8", "replace")


def _run_here(cases: list[Case], at: int, shared: mmap.mmap, limit: int, out: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    runner = CaseRunner()
    gc.collect()
    gc.freeze()
    reached = idle = 0
    for n in range(at, len(cases)):
        shared[:24] = struct.pack("qqq", n, reached, idle)
        signal.alarm(limit)
        try:
            fired, wrong = runner.evaluate(cases[n])
        except Exception as error:
            fired, wrong = True, f"harness: {error!r}"
        reached, idle = reached + fired, idle + (not fired)
        if wrong:
            os.write(out, f"{n}\t{wrong}\n".replace("\n", " ").encode()[:2000] + b"\n")
    signal.alarm(0)
    shared[:24] = struct.pack("qqq", len(cases), reached, idle)


def chunks(seed: int, skipped: Counter[str] | None = None, size: int = CHUNK) -> Iterator[list[Case]]:
    """Cases of a seed without those that are expected to fail."""
    cases = sample(seed)
    while True:
        chunk = []
        for case in islice(cases, size):
            reason = xfail_reason(case)
            if reason:
                if skipped is not None:
                    skipped[reason] += 1
            else:
                chunk.append(case)
        yield chunk


def main() -> int:
    """Run the cases of the command line; returns 1 if one failed."""
    parser = argparse.ArgumentParser(description="hostile cases")
    parser.add_argument("case", nargs="*")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--cases", type=int, default=int(os.environ.get("MBUF_HOSTILE_CASES", "200000")))
    parser.add_argument("--show", type=int, default=40, help="how many failures to print")
    chosen = parser.parse_args()
    if chosen.case:
        return _run_named(chosen.case)
    print(f"seed {chosen.seed}; {count():,} cases exist", flush=True)
    skipped: Counter[str] = Counter()
    reached = idle = 0
    failures: list[Failure] = []
    net = (Case(*case) for case in net_cases(chosen.seed))
    for chunk in chunks(chosen.seed, skipped):
        summary = run_all([*chunk, *islice(net, len(chunk) // 10)])
        reached, idle = reached + summary.reached, idle + summary.idle
        for failure in summary.failures:
            if len(failures) < chosen.show:
                print(failure, flush=True)
            failures.append(failure)
        if sys.stderr.isatty():
            print(f"\r{reached:,} cases, {len(failures):,} failures", end="", file=sys.stderr)
        if reached >= chosen.cases:
            break
    print(
        f"{reached:,} cases reached their hook, {idle:,} didn't, {sum(skipped.values()):,} expected failures left out"
    )
    print(
        f"{len(failures):,} failures", *(f"{kind} {n}" for kind, n in Counter(f.kind for f in failures).most_common())
    )
    for where, n in Counter(f"{f.case.member} {f.case.hook}" for f in failures).most_common(30):
        print(f"{n:6} {where}")
    return 1 if failures else 0


def _run_named(names: list[str]) -> int:
    """Run single cases in this process."""
    faulthandler.enable()
    runner = CaseRunner()
    bad = 0
    for name in names:
        fired, wrong = runner.evaluate(Case(*name.split("/")))
        print(name, "reached," if fired else "its hook wasn't reached,", wrong or "passed")
        bad |= bool(wrong)
    return bad


if __name__ == "__main__":
    sys.exit(main())
