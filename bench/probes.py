"""The cost of probes: an allocation and a free without listeners and with them, as ratios of one run.

All other benchmarks measure without listeners.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mbuf import Pool, Vm, compiled

ROUNDS = 25
CALLS = 20_000


def nothing(*_: object) -> None:
    """Listen, and do nothing."""


def create_bytearrays(count: int) -> None:
    for _ in range(count):
        bytearray(2048)


def getcl(pool: Pool) -> Callable[[int], None]:
    def run(count: int) -> None:
        get = pool.getcl
        for _ in range(count):
            m = get()
            m.free()

    return run


def main() -> None:
    never, once, elsewhere, both = pools = [Pool(Vm(1 << 28)) for _ in range(4)]
    with once.probes.attached("m-getcl", nothing):
        once.getcl().free()
    elsewhere.probes.attach("m-cljset", nothing)
    both.probes.attach("m-getcl", nothing)
    both.probes.attach("m-free", nothing)
    loops = {
        "bytearray(2048), created and dropped": create_bytearrays,
        "getcl() + free(), never a listener": getcl(never),
        "  a listener was detached": getcl(once),
        "  a listener for m-cljset only": getcl(elsewhere),
        "  two listen to m-getcl and m-free": getcl(both),
    }
    least = dict.fromkeys(loops, float("inf"))
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            start = time.perf_counter()
            loop(CALLS)
            least[name] = min(least[name], (time.perf_counter() - start) / CALLS * 1e9)
    base = next(iter(least.values()))
    print("compiled" if compiled() else "uncompiled")
    for name, ns in least.items():
        print(f"{name:40} {ns:7.1f} ns  {ns / base:5.2f}")
    for pool in pools:
        pool.close()


if __name__ == "__main__":
    main()
