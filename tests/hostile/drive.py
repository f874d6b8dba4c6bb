"""Plays many cases in child processes, so that a crash costs one of them, and tells which.

python -m hostile.drive                    MBUF_HOSTILE_CASES cases (200,000) from a new seed
python -m hostile.drive CASE ...           those cases, here: what `make hostile` prints of a failure
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

from hostile.known import known
from hostile.run import Case, Player, count, sample

#: Seconds after which a case is taken for one that never ends.
LIMIT = 20
CHUNK = 2000


class Failure(NamedTuple):
    """A case that went wrong, and how."""

    case: Case
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.case}\n    {self.kind}: {self.text}\n    python -m hostile.drive '{self.case}'"


class Tally(NamedTuple):
    """What came of many cases: those that reached their hook, those that didn't, and the failures."""

    reached: int
    idle: int
    failures: list[Failure]


def play(cases: list[Case], limit: int = LIMIT) -> Tally:
    """Play cases in child processes, one after the other; after a crash another child goes on."""
    shared = mmap.mmap(-1, 32)
    failures: list[Failure] = []
    reached = idle = at = 0
    while at < len(cases):
        shared[:24] = struct.pack("qqq", at, 0, 0)
        code, output = _child(cases, at, shared, limit)
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
    return Tally(reached, idle, failures)


def _child(cases: list[Case], at: int, shared: mmap.mmap, limit: int) -> tuple[int, str]:
    """Play cases from one on in a child; how it ended, and what it told."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reader)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            _play_here(cases, at, shared, limit, writer)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    pieces = []
    with open(reader, "rb", buffering=0) as pipe:
        while piece := pipe.read(65536):
            pieces.append(piece)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), b"".join(pieces).decode("utf-8", "replace")


def _play_here(cases: list[Case], at: int, shared: mmap.mmap, limit: int, out: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    player = Player()
    gc.collect()
    gc.freeze()
    reached = idle = 0
    for n in range(at, len(cases)):
        shared[:24] = struct.pack("qqq", n, reached, idle)
        signal.alarm(limit)
        try:
            fired, wrong = player.judge(cases[n])
        except Exception as error:
            fired, wrong = True, f"harness: {error!r}"
        reached, idle = reached + fired, idle + (not fired)
        if wrong:
            os.write(out, f"{n}\t{wrong}\n".replace("\n", " ").encode()[:2000] + b"\n")
    signal.alarm(0)
    shared[:24] = struct.pack("qqq", len(cases), reached, idle)


def chunks(seed: int, skipped: Counter[str] | None = None, size: int = CHUNK) -> Iterator[list[Case]]:
    """Cases of a seed, but for those that are known to fail."""
    cases = sample(seed)
    while True:
        chunk = []
        for case in islice(cases, size):
            reason = known(case)
            if reason:
                if skipped is not None:
                    skipped[reason] += 1
            else:
                chunk.append(case)
        yield chunk


def main() -> int:
    """Play what the command line says; 1 if anything failed."""
    parser = argparse.ArgumentParser(description="hostile cases")
    parser.add_argument("case", nargs="*")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--cases", type=int, default=int(os.environ.get("MBUF_HOSTILE_CASES", "200000")))
    parser.add_argument("--show", type=int, default=40, help="failures to print whole")
    chosen = parser.parse_args()
    if chosen.case:
        return _alone(chosen.case)
    print(f"seed {chosen.seed}; {count():,} cases exist", flush=True)
    skipped: Counter[str] = Counter()
    reached = idle = 0
    failures: list[Failure] = []
    for chunk in chunks(chosen.seed, skipped):
        tally = play(chunk)
        reached, idle = reached + tally.reached, idle + tally.idle
        for failure in tally.failures:
            if len(failures) < chosen.show:
                print(failure, flush=True)
            failures.append(failure)
        if sys.stderr.isatty():
            print(f"\r{reached:,} cases, {len(failures):,} failures", end="", file=sys.stderr)
        if reached >= chosen.cases:
            break
    print(
        f"{reached:,} cases reached their hook, {idle:,} didn't, {sum(skipped.values()):,} known to fail were left out"
    )
    print(
        f"{len(failures):,} failures", *(f"{kind} {n}" for kind, n in Counter(f.kind for f in failures).most_common())
    )
    for where, n in Counter(f"{f.case.member} {f.case.hook}" for f in failures).most_common(30):
        print(f"{n:6} {where}")
    return 1 if failures else 0


def _alone(names: list[str]) -> int:
    """Play single cases in this process, to look at."""
    faulthandler.enable()
    player = Player()
    bad = 0
    for name in names:
        fired, wrong = player.judge(Case(*name.split("/")))
        print(name, "reached," if fired else "its hook wasn't reached,", wrong or "well")
        bad |= bool(wrong)
    return bad


if __name__ == "__main__":
    sys.exit(main())
