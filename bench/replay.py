"""Packets per second of `mbuf replay`, compared with a loop that only reads the same records.

Both read captures/multi.pcap repeatedly, up to a million packets. They run alternately, and the best runs are compared.
"""

import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mbuf.cli.replay.engine import Settings
from mbuf.cli.replay.run import ReplayOptions, ReplayRun
from mbuf.vm.page import compiled

CAPTURE = str(Path(__file__).parents[1] / "captures/multi.pcap")
PACKETS_IN_IT = 4183
LOOPS = 240
RUNS = 5


def plain(loops: int) -> int:
    """Read every record into bytes, and do nothing with it."""
    unpack = struct.Struct("<IIII").unpack
    packets = 0
    for _ in range(loops):
        with open(CAPTURE, "rb") as file:
            file.read(24)
            while head := file.read(16):
                _seconds, _fraction, captured, _length = unpack(head)
                _data = file.read(captured)
                packets += 1
    return packets


def replay(loops: int) -> int:
    """Run every record through rings, clusters and socket buffers."""
    options = ReplayOptions((CAPTURE,), loops, 4 << 30, {}, Settings())
    return ReplayRun(options, on_progress=lambda done: None, on_error=sys.exit).run().outcome.packets


def rate(play: Callable[[int], int], loops: int) -> float:
    begin = time.perf_counter()
    packets = play(loops)
    seconds = time.perf_counter() - begin
    assert packets == loops * PACKETS_IN_IT
    return packets / seconds


def main() -> None:
    loops = int(sys.argv[1]) if sys.argv[1:] else LOOPS
    runs = [(rate(plain, loops), rate(replay, loops)) for _ in range(RUNS)]
    read, replayed = (max(rates) for rates in zip(*runs, strict=True))
    print(f"{'compiled' if compiled() else 'uncompiled'}, {loops * PACKETS_IN_IT} packets, best of {RUNS}")
    print(f"plain read  {read:10,.0f} packets/s")
    print(f"mbuf replay {replayed:10,.0f} packets/s")
    print(f"ratio       {replayed / read:10.2f}")


if __name__ == "__main__":
    main()
