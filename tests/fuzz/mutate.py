"""Inputs for fuzzing: seeds with some bytes changed, deleted, repeated, or replaced by bytes of another seed."""

import os
import random
import time
from collections.abc import Iterator, Sequence

#: Seconds for all fuzzers together, and their number. Without MBUF_FUZZ_SECONDS each uses the same inputs every time.
SECONDS = float(os.environ.get("MBUF_FUZZ_SECONDS", "0"))
FUZZERS = 9
ROUNDS = 300

#: Limits of numbers, and delimiters in texts.
_SPECIAL = (
    *(b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b"\r\n", b"\r\n\r\n", b'"', b"=", b"#", b"%", b"-", b"0", b" ", b"/.."),
    *(
        number.to_bytes(4, order)
        for number in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
        for order in ("little", "big")
    ),
    *(b"9" * 25, b"0x", b"-1", b"1e9", b"\xc3\x28", b"\xed\xb3\xbf", b"\x1b[31m", b"*", b"W/", b"bytes="),
)


def inputs(seeds: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """The seeds, then mutated ones, each with the number that reproduces it."""
    for number, seed in enumerate(seeds):
        yield -1 - number, seed
    if not SECONDS:
        for number in range(ROUNDS):
            yield number, mutated(number, seeds)
        return
    end = time.monotonic() + SECONDS / FUZZERS
    number = int.from_bytes(os.urandom(4), "big")
    while time.monotonic() < end:
        yield number, mutated(number, seeds)
        number += 1


def mutated(number: int, seeds: Sequence[bytes]) -> bytes:
    """A seed with one to eight mutations."""
    chance = random.Random(number)
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 8)):
        _mutate(chance, data, seeds)
    return bytes(data)


def _mutate(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    # Half of the mutations are in the first 64 bytes, where headers are.
    at = chance.randint(0, len(data) if chance.random() < 0.5 else min(len(data), 64))
    count = chance.randint(1, 16)
    kind = chance.randrange(7)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        data[at : at + count] = b""
    elif kind == 2:
        data[at:at] = data[at : at + count]
    elif kind == 3:
        data[at : at + count] = chance.randbytes(count)
    elif kind == 4:
        special = chance.choice(_SPECIAL)
        data[at : at + len(special) * chance.randrange(2)] = special
    elif kind == 5:
        del data[at:]
    else:
        other = chance.choice(seeds)
        data[at:] = other[chance.randint(0, len(other)) :]
