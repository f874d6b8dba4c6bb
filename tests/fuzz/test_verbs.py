"""Random programs of method calls with random arguments damage no memory.

`python -m fuzz.test_verbs NUMBER` runs the program with that number again.
"""

import mmap
import os
import random
import struct
import sys
from collections.abc import Iterator
from itertools import islice

import pytest

from fuzz.bytecode import BytecodeProgram
from fuzz.mutate import SECONDS, inputs

#: Programs from which others are made.
SEEDS = [random.Random(n).randbytes(400) for n in range(8)]
#: The number of programs that one process runs.
BATCH = 50


@pytest.mark.timeout(max(SECONDS, 0) + 600)
def test_random_programs_damage_nothing() -> None:
    programs = inputs(SEEDS)
    for batch in iter(lambda: list(islice(programs, BATCH)), []):
        wrong = _run(batch)
        assert not wrong, wrong


def _run(batch: list[tuple[int, bytes]]) -> str:
    """Run programs in a child process; returns which went wrong, and how."""
    shared = mmap.mmap(-1, 16)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            for number, code in batch:
                shared[:8] = struct.pack("q", number)
                wrong = BytecodeProgram(code).run()
                if wrong:
                    os.write(writer, f"program {number}: {wrong}".encode()[:4000])
                    break
        except BaseException as error:
            os.write(writer, f"program {struct.unpack('q', shared[:8])[0]}: {error!r}".encode()[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        output = pipe.read().decode("utf-8", "replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return output or (f"program {struct.unpack('q', shared[:8])[0]} ended its process with {code}" if code else "")


def _program(number: int) -> Iterator[bytes]:
    from fuzz.mutate import mutated

    yield SEEDS[-1 - number] if number < 0 else mutated(number, SEEDS)


if __name__ == "__main__":
    for program in _program(int(sys.argv[1])):
        print(BytecodeProgram(program).run() or "nothing is wrong")
