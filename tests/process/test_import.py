"""What `import mbuf` loads, and that the names which it doesn't load are there."""

import subprocess
import sys

import pytest

import mbuf

#: Modules of Python that take long to load, or that only some programs need.
HEAVY = {
    "asyncio",
    "dataclasses",
    "difflib",
    "inspect",
    "logging",
    "pathlib",
    "random",
    "socket",
    "ssl",
    "tomllib",
}
if mbuf.compiled():
    HEAVY.add("ctypes")


def run(program: str) -> str:
    """What a program prints, in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("program", ["", "mbuf.Pool(mbuf.Vm(64 << 20)).getcl().free()"])
def test_a_small_program_loads_no_heavy_module(program: str) -> None:
    bare = set(run("import sys; print(*sys.modules)").split())
    after = set(run(f"import sys, mbuf\n{program}\nprint(*sys.modules)").split())
    assert not (after - bare) & HEAVY


def test_every_public_name_can_be_imported() -> None:
    program = "import mbuf; from mbuf import *; print(sorted({*mbuf.__all__} - {*globals()}))"
    assert run(program) == "[]\n"


def test_names_that_are_not_loaded_yet_are_listed() -> None:
    assert run("import mbuf; print({*mbuf.__all__} <= {*dir(mbuf)})") == "True\n"


def test_an_unknown_name_raises_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mbuf' has no attribute 'Pol'"):
        _ = mbuf.Pol
