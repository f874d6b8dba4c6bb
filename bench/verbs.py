"""What verbs on a packet of 64 KiB in 32 clusters cost, as ratios to the same on one buffer, in the same run.

The checksum's base is a loop in C over contiguous bytes, compiled here with gcc as the package is and
called through ctypes. Run it on an idle machine: `make bench`.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from struct import unpack_from

from mbuf import MCLBYTES, Mbuf, Pool, Vm, compiled

ROUNDS = 40
CALLS = 500
SIZE = 64 << 10

#: RFC 1071, as everybody writes it, and with registers used in full.
REFERENCE = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static unsigned int done(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

unsigned int by_2(const unsigned char *data, size_t count)
{
    const uint16_t *words = (const uint16_t *)data;
    uint64_t sum = 0;
    for (size_t i = 0; i < count / 2; i++)
        sum += words[i];
    return done(sum);
}

unsigned int by_8(const unsigned char *data, size_t count)
{
    uint64_t word, sum = 0;
    for (size_t i = 0; i < count; i += 8) {
        memcpy(&word, data + i, 8);
        sum += word;
        sum += sum < word;
    }
    return done(sum);
}
"""


def reference(name: str) -> Callable[[bytes], int]:
    """A loop in C, as a function of a bytes object."""
    with tempfile.TemporaryDirectory() as where:
        source, made = Path(where, "cksum.c"), Path(where, "cksum.so")
        source.write_text(REFERENCE, "ascii")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(made), str(source)], check=True)
        cksum = ctypes.CDLL(str(made))[name]
    cksum.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    return lambda data: int(cksum(data, len(data)))


def pairs(m: Mbuf, data: bytes) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Of each verb: what it is compared to, and the verb."""
    by_2, by_8 = reference("by_2"), reference("by_8")
    plain, target = bytearray(data), bytearray(SIZE)
    view = memoryview(plain)
    native = int.from_bytes(m.in_cksum().to_bytes(2, "big"), sys.byteorder)
    if not by_2(data) == by_8(data) == native or m.copydata(0, SIZE) != data:
        raise AssertionError("the two sides of a pair don't agree")

    def fill() -> None:
        target[:] = view

    return {
        "copydata(0, 65536) : bytes(bytearray)": (lambda: bytes(plain), lambda: m.copydata(0, SIZE)),
        "copyinto(bytearray) : slice assignment": (fill, lambda: m.copyinto(target)),
        "in_cksum() : a loop in C, 2 bytes a step": (lambda: by_2(data), lambda: m.in_cksum()),
        "in_cksum() : a loop in C, 8 bytes a step": (lambda: by_8(data), lambda: m.in_cksum()),
        "find(what isn't there) : bytes.find": (lambda: data.find(b"\0nowhere"), lambda: m.find(b"\0nowhere")),
        "unpack('!HH', 20) : struct.unpack_from": (lambda: unpack_from("!HH", plain, 20), lambda: m.unpack("!HH", 20)),
        "unpack over a border : struct.unpack_from": (
            lambda: unpack_from("!HH", plain, MCLBYTES - 1),
            lambda: m.unpack("!HH", MCLBYTES - 1),
        ),
    }


def least(functions: tuple[Callable[[], object], ...]) -> list[float]:
    """Least nanoseconds a call of each, measured in turns so that all see the same machine."""
    best = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for n, function in enumerate(functions):
            start = time.perf_counter()
            for _ in range(CALLS):
                function()
            best[n] = min(best[n], (time.perf_counter() - start) / CALLS * 1e9)
    return best


def main() -> None:
    print(f"{'compiled' if compiled() else 'pure'} leg, Python {sys.version.split()[0]}")
    data = bytes(range(1, 256)) * (SIZE // 255 + 1)
    with Pool(Vm(1 << 30)) as pool:
        m = last = pool.getcl().append(data[:MCLBYTES])
        for at in range(MCLBYTES, SIZE, MCLBYTES):
            last.next = pool.getcl(flags=0).append(data[at : at + MCLBYTES])
            last = last.last()
        m.pkthdr.len = SIZE
        for name, pair in pairs(m, data[:SIZE]).items():
            base, ns = least(pair)
            print(f"{name:45} {base:9.1f} ns {ns:9.1f} ns  {ns / base:5.2f}")
        m.freem()


if __name__ == "__main__":
    main()
