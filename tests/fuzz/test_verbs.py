"""Programs of methods, made at random: whatever they call, with whatever arguments, memory stays whole.

`python -m fuzz.test_verbs NUMBER` runs the program of that number again, here.
"""

import mmap
import os
import random
import struct
import sys
from collections.abc import Iterator
from itertools import islice

import pytest

from fuzz.machine import Machine
from fuzz.mutate import SECONDS, inputs

#: Programs to begin with.
SEEDS = [random.Random(n).randbytes(400) for n in range(8)]
#: Programs that one process runs.
BATCH = 50


@pytest.mark.timeout(max(SECONDS, 0) + 600)
def test_programs_of_methods_leave_all_whole() -> None:
    programs = inputs(SEEDS)
    for batch in iter(lambda: list(islice(programs, BATCH)), []):
        wrong = _run(batch)
        assert not wrong, wrong


def _run(batch: list[tuple[int, bytes]]) -> str:
    """Run programs in a child process; what was wrong with which."""
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
                wrong = Machine(code).run()
                if wrong:
                    os.write(writer, f"program {number}: {wrong}".encode()[:4000])
                    break
        except BaseException as error:
            os.write(writer, f"program {struct.unpack('q', shared[:8])[0]}: {error!r}".encode()[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said or (f"program {struct.unpack('q', shared[:8])[0]} ended its process with {code}" if code else "")


def _program(number: int) -> Iterator[bytes]:
    from fuzz.mutate import mutated

    yield SEEDS[-1 - number] if number < 0 else mutated(number, SEEDS)


if __name__ == "__main__":
    for program in _program(int(sys.argv[1])):
        print(Machine(program).run() or "all is whole")
