"""What `import mbuf` loads, and that the names which it doesn't load are there."""

import subprocess
import sys

import pytest

import mbuf

#: Modules of Python that take long to load, or that only some programs need.
HEAVY = {
    "asyncio",
    "difflib",
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


def test_importing_loads_no_heavy_module() -> None:
    bare = set(run("import sys; print(*sys.modules)").split())
    after = set(run("import sys, mbuf; print(*sys.modules)").split())
    assert not (after - bare) & HEAVY


def test_a_pool_loads_neither_asyncio_nor_ssl() -> None:
    after = set(run("import sys, mbuf; mbuf.Pool(mbuf.Vm(64 << 20)).getcl().free(); print(*sys.modules)").split())
    assert not after & {"asyncio", "ssl"}


def test_a_pool_needs_no_file_later() -> None:
    program = """
import resource
from mbuf import NoBufs, Pool, Vm
pool = Pool(Vm(64 << 20), debug=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
held = []
try:
    while True:
        held += pool.getcl_bulk(64)
except NoBufs:
    pool.audit()
    print(len(held) == pool.out == pool.stat().pack.used)
"""
    assert run(program) == "True\n"


def test_a_finalizer_can_use_a_pool_while_the_interpreter_ends() -> None:
    program = """
from mbuf import Pool, Vm
class Last:
    def __init__(self):
        self.pool = Pool(Vm(64 << 20), debug=True)
        self.held = self.pool.getcl()
    def __del__(self):
        print(self.pool.stat().pack.used, repr(self.held.ext)[:4], flush=True)
last = Last()
"""
    assert run(program) == "1 Ext(\n"


def test_every_public_name_can_be_imported() -> None:
    program = "import mbuf; from mbuf import *; print(sorted({*mbuf.__all__} - {*globals()}))"
    assert run(program) == "[]\n"


def test_names_that_are_not_loaded_yet_are_listed() -> None:
    assert run("import mbuf; print({*mbuf.__all__} <= {*dir(mbuf)})") == "True\n"


def test_an_unknown_name_raises_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mbuf' has no attribute 'Pol'"):
        _ = mbuf.Pol
