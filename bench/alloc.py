"""The cost of an allocation and a free, as a ratio to that of `bytearray(2048)` in the same run.

Prints one line for each pair of calls, then the same with more mbufs in use, then the process memory of a packet in
use. Run it on an idle machine: `make bench`.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable

from memory import status_kib

from mbuf import MCLBYTES, MSIZE, Pool, Vm, compiled

ROUNDS = 25
CALLS = 40_000
LIVE = (100, 1_000, 10_000, 100_000, 1_000_000)
#: Enough for a million packets with 2 KiB and an mbuf each.
MEMORY = 8 << 30
LIMITS = {"kern.ipc.nmbclusters": 1_010_000}


class Empty:
    """Two calls of an empty method: no allocator that is called from Python can cost less."""

    __slots__ = ()

    def nothing(self) -> None:
        """Do nothing."""


def create_bytearrays(count: int) -> None:
    for _ in range(count):
        bytearray(2048)


def reuse_bytearrays(count: int) -> None:
    free = deque(bytearray(2048) for _ in range(64))
    take, give = free.pop, free.append
    for _ in range(count):
        b = take()
        give(b)


def call_empty(count: int) -> None:
    one = Empty()
    nothing = one.nothing
    for _ in range(count):
        nothing()
        one.nothing()


def benchmarks(pool: Pool) -> dict[str, Callable[[int], None]]:
    def getcl(count: int) -> None:
        get = pool.getcl
        for _ in range(count):
            m = get()
            m.free()

    def get(count: int) -> None:
        get = pool.get
        for _ in range(count):
            m = get()
            m.free()

    def bulk(count: int) -> None:
        get, free = pool.getcl_bulk, pool.free_bulk
        for _ in range(count // 32):
            free(get(32))

    def chain(count: int) -> None:
        get = pool.getm2
        for _ in range(count // 16):
            m = get(65536)
            m.freem()

    return {
        "bytearray(2048), created and dropped": create_bytearrays,
        "two empty method calls": call_empty,
        "deque of bytearrays, pop and append": reuse_bytearrays,
        "get() + free()": get,
        "getcl() + free()": getcl,
        "getcl_bulk(32) + free_bulk(), each": bulk,
        "getm2(65536) + freem(), each of 16": chain,
    }


def best(functions: dict[str, Callable[[int], None]]) -> dict[str, float]:
    """The least nanoseconds per call of each function; measured alternately, so that all have the same load."""
    least = dict.fromkeys(functions, float("inf"))
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.perf_counter()
            function(CALLS)
            least[name] = min(least[name], (time.perf_counter() - start) / CALLS * 1e9)
    return least


def costs() -> None:
    with Pool(Vm(1 << 30)) as pool:
        least = best(benchmarks(pool))
    base = next(iter(least.values()))
    for name, ns in least.items():
        print(f"{name:40} {ns:7.1f} ns  {ns / base:5.2f}")


def flatness() -> None:
    """The same with many mbufs in use; the base is measured again each time."""
    first = None
    with Pool(Vm(MEMORY), LIMITS) as pool:
        for count in LIVE:
            live = pool.getcl_bulk(count)
            gc.collect()
            functions = benchmarks(pool)
            names = ("bytearray(2048), created and dropped", "getcl() + free()")
            base, ns = best({name: functions[name] for name in names}).values()
            first = first or ns
            print(f"{count:9,} live: getcl() + free() {ns:6.1f} ns  {ns / base:5.2f}, {ns / first:5.2f} of the first")
            pool.free_bulk(live)


def memory() -> None:
    """Bytes of process memory per packet in use, after all of it was written; in a process of its own."""
    count = 1_000_000
    with Pool(Vm(MEMORY), LIMITS) as pool:
        before = status_kib("VmRSS")
        live = pool.getcl_bulk(count)
        for m in live:
            m.room[:] = bytes(MCLBYTES)
        each = (status_kib("VmRSS") - before) * 1024 / count
        print(f"{each:,.0f} bytes for each live packet  {each / (MCLBYTES + MSIZE):.3f} of {MCLBYTES} + {MSIZE}")
        pool.free_bulk(live)


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        memory()
    else:
        print(f"{'compiled' if compiled() else 'pure'} leg, Python {sys.version.split()[0]}")
        costs()
        flatness()
        subprocess.run([sys.executable, __file__, "memory"], check=True)
