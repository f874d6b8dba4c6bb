"""What a pool gives back under memory pressure: its pages, and resident memory of the process.

Packets are allocated, filled and freed; then a synthetic pressure file reports that tasks are stalled by a lack of
memory. The pool's clock is advanced before, because items that were needed in the last minutes stay cached.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from memory import status_kib

from mbuf import Pool, Vm, compiled
from mbuf.pool.lowmem import MemoryWatch
from mbuf.vm.psi import STALL_US, PressureFile, some_total

PACKETS = 60_000
MINUTES = 20


def row(when: str, pool: Pool) -> None:
    pages = pool.vm.used
    cached = sum(zone.cached for zone in pool.zones.all())
    print(f"{when:<28}{status_kib('VmRSS') >> 10:>12} MiB{pages:>10}{cached:>10}")


def main() -> None:
    now = [0.0]
    called = threading.Event()
    pool = Pool(Vm(1 << 30, clock=lambda: now[0]), tunables={"kern.ipc.nmbclusters": 2 * PACKETS})
    pool.vm.lowmem.register(lambda _: called.set(), 20000)
    print(f"{'compiled' if compiled() else 'uncompiled'}, {PACKETS} packets")
    print(f"{'':<28}{'resident':>16}{'pages':>10}{'cached':>10}")
    row("new", pool)
    packets = [m.append(bytes(2000)) for m in pool.getcl_bulk(PACKETS)]
    row("in use", pool)
    pool.free_bulk(packets)
    del packets
    row("freed", pool)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "memory.pressure")
        file.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", "ascii")
        with MemoryWatch(pool.vm, [PressureFile(file, some_total, STALL_US)], 0.1):
            now[0] += MINUTES * 60
            file.write_text(f"some avg10=20.00 avg60=0.00 avg300=0.00 total={STALL_US}\n", "ascii")
            called.wait()
            row("after pressure", pool)
    pool.drain()
    row("after pool.drain()", pool)
    pool.close()


if __name__ == "__main__":
    main()
