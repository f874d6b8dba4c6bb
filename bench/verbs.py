"""The cost of verbs, as ratios to other calls that are measured alternately in the same run.

Verbs that touch no bytes are compared with calls of empty methods, and with memoryviews; then verbs on a packet of
64 KiB in 32 clusters with the same on one buffer. The checksum is compared with a loop in C over contiguous bytes,
which is compiled here with gcc like the package, and called through ctypes.
Run it on an idle machine: `make bench`.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from struct import unpack_from

from mbuf import MCLBYTES, Mbuf, Pool, Vm, compiled

ROUNDS = 40
CALLS = 500
SIZE = 64 << 10

#: RFC 1071: the usual loop, with full use of registers.
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


class Empty:
    """Empty methods: no verb can cost less."""

    __slots__ = ()

    def one(self, n: int) -> None:
        """Do nothing."""

    def __len__(self) -> int:
        return 0


def small(pool: Pool) -> tuple[dict[str, tuple[Callable[[], object], Callable[[], object]]], Callable[[], None]]:
    """Pairs like those of `pairs`, of ten calls each, for verbs that touch no bytes; and the function called before."""
    empty, plain = Empty(), bytearray(2048)
    m = pool.getcl().append(bytes(1500))
    fresh: Iterator[Mbuf] = iter(())

    def refill() -> None:
        """Allocate the mbufs, so that only `extadd` and `free` are measured."""
        nonlocal fresh
        pool.free_bulk(list(fresh))
        fresh = iter([pool.get() for _ in range(10 * CALLS)])

    def calls() -> None:
        for _ in range(5):
            empty.one(20)
            empty.one(20)

    def adj_and_prepend() -> None:
        for _ in range(5):
            m.adj(20)
            m.prepend(20)

    def lengths() -> None:
        for _ in range(10):
            len(empty)

    def packet_lengths() -> None:
        for _ in range(10):
            len(m)

    def copies() -> None:
        for _ in range(10):
            bytes(memoryview(plain)[:1500])

    def shares() -> None:
        for _ in range(10):
            m.copym().freem()

    def views() -> None:
        for _ in range(10):
            memoryview(plain).release()

    def external() -> None:
        for one in islice(fresh, 10):
            one.extadd(plain).free()

    return {
        "adj(20), prepend(20) : two empty calls": (calls, adj_and_prepend),
        "len(m) : len() of an empty __len__": (lengths, packet_lengths),
        "copym() of 1500, freem() : bytes(view[:1500])": (copies, shares),
        "extadd(), free() : memoryview(), release()": (views, external),
    }, refill


def pairs(m: Mbuf, data: bytes) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """For each verb: the call that it is compared with, and the verb."""
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


def least(functions: tuple[Callable[[], object], ...], before: Callable[[], object] = lambda: None) -> list[float]:
    """The least nanoseconds per call of each function; measured alternately, so that all have the same load."""
    best = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for n, function in enumerate(functions):
            before()
            start = time.perf_counter()
            for _ in range(CALLS):
                function()
            best[n] = min(best[n], (time.perf_counter() - start) / CALLS * 1e9)
    return best


def main() -> None:
    print(f"{'compiled' if compiled() else 'pure'} leg, Python {sys.version.split()[0]}")
    data = bytes(range(1, 256)) * (SIZE // 255 + 1)
    with Pool(Vm(1 << 30)) as pool:
        found, before = small(pool)
        for name, pair in found.items():
            base, ns = least(pair, before)
            print(f"{name:45} {base / 10:9.1f} ns {ns / 10:9.1f} ns  {ns / base:5.2f}")
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
