import subprocess
import sys

import pytest

from mbuf.vm.arena import Arena, Run
from mbuf.vm.page import Memory
from mbuf.vm.poison import poisoned, sanitized, set_poisoned


def test_one_memory_is_marked_and_only_in_a_sanitized_build() -> None:
    run = Run(Arena(1), 0, 0, 1)
    before, made, behind = memories = [Memory() for _ in range(3)]
    for n, memory in enumerate(memories):
        memory.carve(run, 256 * n, 256)
    made.write(0, b"abc", 0, 3)
    set_poisoned(made, True)
    assert poisoned(made) is sanitized()
    assert not poisoned(before)
    assert not poisoned(behind)
    set_poisoned(made, False)
    assert not poisoned(made)
    assert made.read(0, 4) == b"abc\0"


@pytest.mark.skipif(not sanitized(), reason="needs a build with an address sanitizer: make asan")
@pytest.mark.parametrize("act", ["made.read(0, 100)", "made.write(0, b'x', 0, 1)", "made.differs(0)", "bytes(view)"])
def test_touching_poisoned_memory_ends_the_program(act: str) -> None:
    code = f"""
from mbuf.vm.arena import Arena, Run
from mbuf.vm.page import Memory, view_of
from mbuf.vm.poison import set_poisoned
made = Memory()
made.carve(Run(Arena(1), 0, 0, 1), 256, 256)
view = view_of(made, 0, 256, False)
{act}
print("whole", flush=True)
set_poisoned(made, True)
{act}
print("never")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "whole\n"
    assert "use-after-poison" in done.stderr


@pytest.mark.skipif(not sanitized(), reason="needs a build with an address sanitizer: make asan")
def test_an_arena_that_goes_leaves_nothing_marked() -> None:
    run = Run(Arena(1), 0, 0, 1)
    made = Memory()
    made.carve(run, 0, 4096)
    set_poisoned(made, True)
    del made, run
    # The next mapping probably has the same addresses.
    for _ in range(4):
        fresh = Memory()
        fresh.carve(Run(Arena(1), 0, 0, 1), 0, 4096)
        assert not poisoned(fresh)
