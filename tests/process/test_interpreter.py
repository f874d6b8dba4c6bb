"""In interpreters where compiled code isn't safe, importing the package raises an error of one line."""

import importlib.util
import sys
from collections.abc import Callable

import pytest

from mbuf import compiled

Program = Callable[..., str]

INTERPRETERS = "_interpreters" if importlib.util.find_spec("_interpreters") else "_xxsubinterpreters"

needs_compiled = pytest.mark.skipif(not compiled(), reason="uncompiled, the package works there")


def in_sub_interpreter(code: str) -> str:
    """A program that runs the code in a sub-interpreter with a lock shared with the main one."""
    if sys.version_info >= (3, 13):
        made = f"{INTERPRETERS}.create('legacy')"
    else:
        made = f"{INTERPRETERS}.create(isolated=False)"
    return f"""
import {INTERPRETERS}
made = {made}
failed = {INTERPRETERS}.run_string(made, {code!r})
assert failed is None, failed
{INTERPRETERS}.destroy(made)
"""


IMPORT = """
import sys
sys.path[:] = {path!r}
try:
    import mbuf
except ImportError as error:
    print(error, flush=True)
else:
    with mbuf.Pool(mbuf.Vm(1 << 24)) as pool:
        pool.getcl().append(b"x").freem()
    print("works", flush=True)
"""


@needs_compiled
def test_a_sub_interpreter_is_refused_when_it_comes_first(bare: Program) -> None:
    out = bare(in_sub_interpreter(IMPORT.format(path=sys.path)))
    assert out == "mbuf works in the main interpreter only: a sub-interpreter needs a build with MBUF_PURE=1\n"


@needs_compiled
def test_the_main_interpreter_can_import_it_after_a_sub_interpreter_was_refused(bare: Program) -> None:
    out = bare(in_sub_interpreter(IMPORT.format(path=sys.path)) + IMPORT.format(path=sys.path))
    assert out.splitlines()[1:] == ["works"]


def test_where_python_cannot_tell_which_interpreter_this_is_it_works(bare: Program) -> None:
    hide = "import sys\nsys.modules.update(dict.fromkeys(('_interpreters', '_xxsubinterpreters')))\n"
    assert bare(hide + IMPORT.format(path=sys.path)) == "works\n"


@needs_compiled
def test_a_sub_interpreter_is_refused_when_the_main_one_has_it_already(bare: Program) -> None:
    out = bare("import mbuf\n" + in_sub_interpreter(IMPORT.format(path=sys.path)))
    assert out.count("\n") == 1
    assert "interpreter" in out


@pytest.mark.skipif(compiled(), reason="compiled, it is refused")
def test_a_sub_interpreter_has_an_uncompiled_package_of_its_own(bare: Program) -> None:
    assert bare("import mbuf\n" + in_sub_interpreter(IMPORT.format(path=sys.path))) == "works\n"


@needs_compiled
def test_without_the_global_lock_the_compiled_leg_is_refused(bare: Program) -> None:
    out = bare("import sys\nsys._is_gil_enabled = lambda: False\n" + IMPORT.format(path=sys.path))
    assert out == "mbuf needs the global interpreter lock: unset PYTHON_GIL, or use a build with MBUF_PURE=1\n"


@pytest.mark.skipif(compiled(), reason="compiled, it is refused")
def test_without_the_global_lock_the_uncompiled_leg_works(bare: Program) -> None:
    out = bare("import sys\nsys._is_gil_enabled = lambda: False\n" + IMPORT.format(path=sys.path))
    assert out == "works\n"


def test_with_the_global_lock_nothing_is_said(bare: Program) -> None:
    out = bare("import sys\nsys._is_gil_enabled = lambda: True\n" + IMPORT.format(path=sys.path))
    assert out == "works\n"
