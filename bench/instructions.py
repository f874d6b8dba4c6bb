"""Instructions per call of each hot verb, with the loop: a count that doesn't depend on the load of the machine.

A child process runs under valgrind's callgrind. Each verb is called in a short loop and in a long one; the child
calls `getppid` between them, where callgrind writes its count. The difference of both counts, divided by the
difference of the numbers of calls, is the cost of one call. Instructions of the library and of the interpreter are
counted, those of the kernel are not.

`--package DIR` measures another build, whose `mbuf` is in this folder. `--json` prints only names and numbers.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice, repeat
from pathlib import Path
from shutil import which
from typing import Any

#: Calls in the short loop and in the long one; both are multiples of the size of a bulk allocation.
SHORT, LONG = 320, 960

#: Calls before that, which aren't counted.
WARM = 320

#: Mbufs of one bulk allocation; packets that one packet is cut into.
BULK, PARTS = 32, 10

Loop = Callable[[int], None]


class Empty:
    """Two empty methods: no verb can cost less."""

    __slots__ = ()

    def one(self) -> None:
        """Do nothing."""

    def other(self, n: int) -> None:
        """Do nothing."""


def of_python(_: Any) -> Iterator[tuple[str, Loop]]:
    """Calls of Python itself, for comparison."""
    empty = Empty()

    def pair(count: int) -> None:
        for _ in repeat(None, count):
            empty.one()
            empty.other(1)

    def create(count: int) -> None:
        for _ in repeat(None, count):
            bytearray(2048)

    yield "two empty methods", pair
    yield "bytearray(2048)", create


def of_allocation(pool: Any) -> Iterator[tuple[str, Loop]]:
    """Allocations and frees."""

    def getcl(count: int) -> None:
        get = pool.getcl
        for _ in repeat(None, count):
            m = get()
            m.free()

    def get(count: int) -> None:
        get = pool.get
        for _ in repeat(None, count):
            m = get()
            m.free()

    def gethdr(count: int) -> None:
        get = pool.gethdr
        for _ in repeat(None, count):
            m = get()
            m.free()

    def drop(count: int) -> None:
        get = pool.getcl
        for _ in repeat(None, count):
            get()

    def freem(count: int) -> None:
        get = pool.getcl
        for _ in repeat(None, count):
            m = get()
            m.freem()

    def bulk(count: int) -> None:
        get, free = pool.getcl_bulk, pool.free_bulk
        for _ in repeat(None, count // BULK):
            free(get(BULK))

    yield "getcl() + free()", getcl
    yield "get() + free()", get
    yield "gethdr() + free()", gethdr
    yield "getcl(), dropped", drop
    yield "getcl() + freem()", freem
    yield f"getcl_bulk({BULK}) + free_bulk(), each", bulk


def of_headers(pool: Any) -> Iterator[tuple[str, Loop]]:
    """Packet headers."""
    interface = object()

    def rcvif(count: int) -> None:
        get = pool.gethdr
        for _ in repeat(None, count):
            m = get()
            m.pkthdr.rcvif = interface
            m.free()

    def tags(count: int) -> None:
        get, alloc = pool.gethdr, pool.tag_alloc
        for _ in repeat(None, count):
            m = get()
            m.tag_prepend(alloc(7, 1, interface))
            m.free()

    yield "gethdr() + rcvif + free()", rcvif
    yield "gethdr() + tag_alloc() + tag_prepend() + free()", tags


def of_bytes(pool: Any) -> Iterator[tuple[str, Loop]]:
    """The bytes of one packet."""
    data = bytes(100)
    m = pool.getcl().append(bytes(1500))

    def move(count: int) -> None:
        for _ in repeat(None, count):
            m.adj(20)
            m.prepend(20)

    def append(count: int) -> None:
        for _ in repeat(None, count):
            m.append(data)
            m.adj(-100)

    def length(count: int) -> None:
        for _ in repeat(None, count):
            len(m)

    def field(count: int) -> None:
        for _ in repeat(None, count):
            _ = m.len

    def unpack(count: int) -> None:
        for _ in repeat(None, count):
            m.unpack("!HH", 20)

    def checksum(count: int) -> None:
        for _ in repeat(None, count):
            m.in_cksum()

    yield "adj(20) + prepend(20)", move
    yield "append(100 bytes) + adj(-100)", append
    yield "len(m)", length
    yield "m.len", field
    yield "unpack('!HH', 20)", unpack
    yield "in_cksum() of 1500", checksum


def of_copies(pool: Any) -> Iterator[tuple[str, Loop]]:
    """Packets that share bytes, or have external storage."""
    plain = bytearray(2048)
    m = pool.getcl().append(bytes(1500))
    gathered = m.copypacket().pullup(40)
    large = pool.getjcl(size=16384).append(bytes(1400 * PARTS))
    fresh = iter([pool.get() for _ in range(WARM + SHORT + LONG)])

    def copypacket(count: int) -> None:
        for _ in repeat(None, count):
            m.copypacket().freem()

    def copym(count: int) -> None:
        for _ in repeat(None, count):
            m.copym(0, 1500).freem()

    def segment(count: int) -> None:
        free = pool.free_bulk
        for _ in repeat(None, count // PARTS):
            free(large.copypacket().segment(1400))

    def extadd(count: int) -> None:
        for one in islice(fresh, count):
            one.extadd(plain).free()

    def wrap(count: int) -> None:
        lend = pool.wrap
        for _ in repeat(None, count):
            lend(plain).free()

    def pullup(count: int) -> None:
        for _ in repeat(None, count):
            m.copypacket().pullup(40).freem()

    def again(count: int) -> None:
        for _ in repeat(None, count):
            gathered.pullup(40)

    yield "copypacket() + freem()", copypacket
    yield "copym(0, 1500) + freem()", copym
    yield f"copypacket() + segment() + free_bulk(), each of {PARTS}", segment
    yield "extadd() + free()", extadd
    yield "wrap() + free()", wrap
    yield "copypacket() + pullup(40) + freem()", pullup
    yield "pullup(40) of bytes in the first mbuf", again


def measured() -> None:
    """In the child: call `getppid` before, between and after both loops of each verb, and print the verbs' names."""
    from mbuf import Pool, Vm

    with Pool(Vm(1 << 28)) as pool:
        rows = [row for rows in (of_python, of_allocation, of_headers, of_bytes, of_copies) for row in rows(pool)]
        gc.disable()
        for _, loop in rows:
            # Caches are full, and the interpreter has specialized the loop.
            loop(WARM)
            for count in (SHORT, LONG):
                os.getppid()
                loop(count)
            os.getppid()
        print(json.dumps([name for name, _ in rows]))


def counts(package: str | None = None) -> dict[str, float]:
    """Instructions per call of each verb, by name."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    if package is not None:
        environment["PYTHONPATH"] = str(Path(package).resolve())
    with tempfile.TemporaryDirectory() as where:
        out = Path(where, "callgrind")
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-before=getppid"]
        done = subprocess.run(
            [*valgrind, sys.executable, __file__, "--child"], env=environment, stdout=subprocess.PIPE, check=True
        )
        names = json.loads(done.stdout)
        totals = [_total(Path(f"{out}.{n}")) for n in range(1, 3 * len(names) + 1)]
    # For each verb: the part before, the short loop, the long loop.
    return {name: (totals[3 * n + 2] - totals[3 * n + 1]) / (LONG - SHORT) for n, name in enumerate(names)}


def _total(dump: Path) -> int:
    """The instructions of one dump of callgrind, since the dump before."""
    with dump.open(encoding="ascii", errors="replace") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(("summary:", "totals:")))


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the instructions that a call of each hot verb takes.")
    parser.add_argument("--package", metavar="DIR", help="the folder of another build of mbuf")
    parser.add_argument("--json", action="store_true", help="print names and numbers as JSON")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measured()
        return
    if which("valgrind") is None:
        sys.exit("bench/instructions.py: valgrind isn't installed: install it to count instructions")
    found = counts(options.package)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, count in found.items():
        print(f"{name:55} {count:9,.0f}")


if __name__ == "__main__":
    main()
