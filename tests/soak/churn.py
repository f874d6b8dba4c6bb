"""Many allocations and frees in several threads: memory must not grow, and nothing may leak.

    python tests/soak/churn.py --count 100000000 --threads 4 --seed 7

First the pool is filled to its limits once, so that all its memory is mapped. Then each thread allocates packets of
every kind, changes, copies, passes on and frees them. The seed determines the order in each thread, but not how threads
are scheduled. Resident memory is read all the time, and compared with that after a tenth of the work. The run fails if
memory grows by more than `--flat` percent, if a thread raises another error than `NoBufs`, or if anything is in use at
the end.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from mbuf import MJUM9BYTES, MJUM16BYTES, MJUMPAGESIZE, PAGE_SIZE, Mbuf, NoBufs, Pool, Vm, compiled

#: Small, so that threads sometimes reach the limits.
LIMITS = {
    "kern.ipc.nmbclusters": 512,
    "kern.ipc.nmbjumbop": 64,
    "kern.ipc.nmbjumbo9": 24,
    "kern.ipc.nmbjumbo16": 24,
    "kern.ipc.nmbufs": 2048,
}

#: The most packets that a thread holds, and that wait to be passed to another thread.
MAX_HELD, MAX_PASSED = 200, 64

#: Packets of a bulk allocation; operations that are chosen at a time.
BULK, BATCH = 32, 4096

#: The part of the work before the reading of memory that others are compared with.
WARM_UP = 0.1

#: Seconds between two readings, and between two lines of output.
READING_INTERVAL, LINE_INTERVAL = 0.05, 10.0


def resident_bytes() -> int:
    """Bytes of physical memory that the process has."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE_SIZE


def fill(pool: Pool) -> None:
    """Allocate all that the limits allow, write to it, and free it."""
    packets: list[Mbuf] = []
    kinds: tuple[Callable[[], Mbuf], ...] = (
        pool.getcl,
        *(lambda size=size: pool.getjcl(size=size) for size in (MJUMPAGESIZE, MJUM9BYTES, MJUM16BYTES)),
        pool.get,
    )
    for take in kinds:
        while True:
            try:
                m = take()
            except NoBufs:
                break
            m.append(bytes(len(m.room)))
            packets.append(m)
    pool.free_bulk(packets)


class Churner(threading.Thread):
    """One thread's share of the work: it allocates `count` mbufs, and some thread frees each of them."""

    def __init__(self, pool: Pool, count: int, seed: int, passed: deque[Mbuf], stop: threading.Event) -> None:
        super().__init__()
        self.pool, self.count, self.passed, self.stop = pool, count, passed, stop
        self.random = random.Random(seed)
        self.held: list[Mbuf] = []
        self.external = bytearray(3000)
        self.allocated = self.refused = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        weights = {
            self.get: 4,
            self.getcl: 8,
            self.getjcl: 2,
            self.bulk: 4,
            self.wrap: 2,
            self.copy: 4,
            self.append: 6,
            self.move: 8,
            self.hand_over: 2,
            self.free: 16,
            self.drop: 2,
        }
        try:
            while self.allocated < self.count and not self.stop.is_set():
                for act in self.random.choices(list(weights), list(weights.values()), k=BATCH):
                    try:
                        act()
                    except NoBufs:
                        self.refused += 1
                        self.free()
                    if self.allocated >= self.count:
                        break
        except BaseException as error:  # raised again by `churn`
            self.error = error
            self.stop.set()
        finally:
            self.pool.free_bulk(self.held)

    def hold(self, m: Mbuf, count: int = 1) -> None:
        """Keep a packet of `count` new mbufs; if there are many, free another instead."""
        self.allocated += count
        if len(self.held) < MAX_HELD:
            self.held.append(m)
            return
        index = self.random.randrange(MAX_HELD)
        other, self.held[index] = self.held[index], m
        other.freem()

    def any(self) -> Mbuf | None:
        return self.random.choice(self.held) if self.held else None

    def get(self) -> None:
        self.hold(self.pool.gethdr())

    def getcl(self) -> None:
        for _ in range(8):
            self.pool.getcl().free()
        self.allocated += 8
        self.hold(self.pool.getcl())

    def getjcl(self) -> None:
        self.hold(self.pool.getjcl(size=self.random.choice((MJUMPAGESIZE, MJUM9BYTES, MJUM16BYTES))))

    def bulk(self) -> None:
        packets = self.pool.getcl_bulk(BULK)
        self.allocated += BULK - 1
        self.hold(packets.pop())
        self.pool.free_bulk(packets)

    def wrap(self) -> None:
        self.hold(self.pool.wrap(self.external))

    def copy(self) -> None:
        m = self.any()
        if m is not None:
            copied = m.copypacket()
            self.hold(copied, sum(1 for _ in links(copied)))

    def append(self) -> None:
        m = self.any()
        if m is not None and len(m) < 20_000:
            before = sum(1 for _ in links(m))
            m.append(bytes(self.random.randrange(600)))
            self.allocated += sum(1 for _ in links(m)) - before

    def move(self) -> None:
        m = self.any()
        if m is not None:
            size = min(len(m), 40)
            m.adj(size)
            m.adj(-min(len(m), 20))
            view = m.data
            view.release()

    def hand_over(self) -> None:
        """Pass a packet to another thread, and free one that was passed."""
        if not self.held:
            return
        self.passed.append(self.held.pop())
        if len(self.passed) > MAX_PASSED:
            try:
                self.passed.popleft().freem()
            except IndexError:
                # Another thread has freed the last one.
                return

    def free(self) -> None:
        if self.held:
            self.held.pop(self.random.randrange(len(self.held))).freem()

    def drop(self) -> None:
        if self.held:
            self.held.pop()


def links(m: Mbuf) -> list[Mbuf]:
    """The mbufs of a packet."""
    found = []
    n: Mbuf | None = m
    while n is not None:
        found.append(n)
        n = n.next
    return found


def churn(pool: Pool, count: int, threads: int, seed: int, report: Callable[[str], None]) -> tuple[int, int]:
    """Do the work; returns resident memory after the warm-up, and its maximum afterwards."""
    passed: deque[Mbuf] = deque()
    stop = threading.Event()
    workers = [Churner(pool, count // threads, seed * 1000 + n, passed, stop) for n in range(threads)]
    start = printed = time.monotonic()
    base = most = 0
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            stop.wait(READING_INTERVAL)
            allocated = sum(worker.allocated for worker in workers)
            now = resident_bytes()
            if base == 0 and allocated >= count * WARM_UP:
                base = now
            most = max(most, now) if base else 0
            if time.monotonic() >= printed + LINE_INTERVAL:
                printed = time.monotonic()
                rate = allocated / (printed - start)
                report(f"{allocated:13,} mbufs, {now / (1 << 20):7.1f} MiB, {rate:,.0f} a second")
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    pool.free_bulk(list(passed))
    passed.clear()
    for worker in workers:
        if worker.error is not None:
            raise worker.error
    now = resident_bytes()
    allocated, refused = sum(worker.allocated for worker in workers), sum(worker.refused for worker in workers)
    report(f"{allocated:13,} mbufs allocated and freed by {threads} threads, {refused:,} refused at the limits")
    return base or now, max(most, now)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Allocate and free in several threads; memory must not grow.")
    parser.add_argument("--count", type=int, default=100_000_000, help="mbufs to allocate (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=4, help="threads that share the work (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="determines the order (default: random)")
    parser.add_argument("--flat", type=float, default=1.0, help="percent that memory may grow (default: 1)")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 20) if options.seed is None else options.seed
    print(f"{'compiled' if compiled() else 'pure'} leg, --seed {seed}", flush=True)
    pool = Pool(Vm(1 << 28), LIMITS, worker=False)
    fill(pool)
    base, most = churn(pool, options.count, options.threads, seed, lambda line: print(line, flush=True))
    gc.collect()
    growth = (most - base) / base * 100
    print(f"resident memory: {base / (1 << 20):.1f} MiB after the warm-up, at most {growth:.2f} % more afterwards")
    wrong = [f"memory grew by {growth:.2f} %"] if growth > options.flat else []
    wrong += [f"{pool.out} mbufs are still in use"] if pool.out else []
    pool.drain()
    wrong += [f"{zone.name}: {zone.used} items are still in use" for zone in pool.zones.all() if zone.used]
    wrong += [f"{pool.vm.used} pages are still in use"] if pool.vm.used else []
    wrong += ["close() found mbufs in use"] if pool.close() else []
    for line in wrong:
        print(line)
    print("failed" if wrong else "nothing leaked")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
