"""No commit runs user code: read from the C that the compiler makes of this package.

Between `enter_commit` and `leave_commit`, and in every function of ours that is called there, nothing of the
interpreter is called but what can't lead to Python code: see `HARMLESS`. Where an error is raised the commit is over.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mbuf import compiled

ROOT = Path(__file__).parents[2]
C = ROOT / "build" / "cython" / "src" / "mbuf"

#: Raising, looking at the type of what is there, names of a module of ours, and lists, tuples, dictionaries with keys
#: of numbers, made before.
HARMLESS = re.compile(
    r"PyErr_(Format|SetString|Occurred)|__Pyx_(TypeTest|Raise\w*|PyErr_\w+)|Py(Tuple|List)_GET_\w+|Py(Dict|List)_Size"
    r"|PyDict_(SetItem|DelItem)|__Pyx_(SetItemInt|GetItemInt_List|GetItemInt_Tuple)|PyLong_FromSsize_t"
    r"|Py(List|Tuple)_CheckExact|__Pyx_Py(List|Tuple)_(GET|SET)_\w+|__Pyx_PyDict_GetItemDefault|__Pyx_PySequence_ITEM"
    r"|__Pyx_(GetModuleGlobalName|TypeCheck|ExceptionSave|div_Py_ssize_t)"
)

#: Functions that may do more. An audit only looks; an item is made before anything has changed; the hook is a test's.
EXEMPT = re.compile(
    r"_\d*(_?contradiction|_wrong_\w+|_unknown|audit\w*|_call_hook)$|Keg__make$|_commit_(enter|leave)_commit$"
    r"|_run_releases_unraisable$"
)

_HEAD = re.compile(r"^(?!typedef|#|\s).*?\b(__pyx_\w+)\(.*\) \{$")
_API = re.compile(
    r"\b(__Pyx_\w+|Py(?:Object|Number|Sequence|List|Dict|Tuple|Unicode|Long|Err|Set|Iter|Mapping)_\w+)\s*\("
)
_MACRO = re.compile(
    r"__Pyx_(X?(INC|DEC|GOT|GIVE)REF\w*|CLEAR|NewRef|RefNanny\w*|XNewRef|TraceLine\w*|\w*Sub\w*Type\w*|memviewslice\w*)$"
)
_CALL = re.compile(r"\b(__pyx_f_\w+)\(")
_METHOD = re.compile(r"struct __pyx_vtabstruct_(\w+) \*\)[^;]*?__pyx_vtab\)?\)?->(?:__pyx_base\.)*(\w+)\(")
_VTAB = re.compile(r"struct __pyx_vtabstruct_(\w+) \{\n(?:  struct __pyx_vtabstruct_(\w+) __pyx_base;)?")
_PLACE = re.compile(r'\s*/\* "([^"]*)":(\d+)')

Line = tuple[str, int, str]
Functions = dict[str, list[Line]]


@cache
def read() -> tuple[Functions, dict[str, str]]:
    """The functions of all modules, each line with its place in the source; and of each class its base."""
    functions: Functions = {}
    bases: dict[str, str] = {}
    for path in sorted(C.rglob("*.c")):
        text = path.read_text("utf-8")
        bases.update(_VTAB.findall(text))
        body: list[Line] | None = None
        place = ("", 0)
        for line in text.splitlines():
            head = _HEAD.match(line)
            if body is None:
                if head:
                    body = functions.setdefault(head[1], [])
            elif line == "}":
                body = None
            elif found := _PLACE.match(line):
                place = found[1], int(found[2])
            elif not line.lstrip().startswith(("*", "/*")):
                body.append((*place, line))
    return functions, bases


def commits(body: list[Line]) -> bool:
    """True when the function has a commit."""
    return any("commit_enter_commit(" in line for *_, line in body)


def committed(body: list[Line]) -> Iterator[Line]:
    """The lines of a function that lie in a commit."""
    inside = False
    for line in body:
        if "commit_enter_commit(" in line[2]:
            inside = True
        elif "leave_commit(" in line[2] or "_error:;" in line[2]:
            inside = False
        elif inside:
            yield line


def whole(body: list[Line]) -> Iterator[Line]:
    """The lines of a function, up to where it has failed."""
    for line in body:
        if "_error:;" in line[2]:
            return
        yield line


def mangled(cls: str, method: str) -> str:
    module, _, name = cls.rpartition("_")
    return f"__pyx_f_{module}_{len(name)}{name}_{method}"


def methods(cls: str, method: str, functions: Functions, bases: dict[str, str]) -> set[str]:
    """What such a call may run: the method of the class, or of its nearest base, and of all classes made of it."""
    found = set()
    at = cls
    while at:
        if mangled(at, method) in functions:
            found.add(mangled(at, method))
            break
        at = bases.get(at, "")
    for other in bases:
        above = other
        while above and above != cls:
            above = bases.get(above, "")
        if above and mangled(other, method) in functions:
            found.add(mangled(other, method))
    return found


@cache
def source(file: str) -> list[str]:
    return (ROOT / "src" / file).read_text("utf-8").splitlines()


def aside(file: str, number: int) -> bool:
    """True where the source raises an error; and at a method's head, where one of a Python subclass is looked for."""
    return file.endswith(".py") and source(file)[number - 1].strip().startswith(("raise ", "def "))


def called() -> Iterator[tuple[str, str]]:
    """All that is called in commits of the interpreter: where, and what."""
    functions, bases = read()
    todo = [committed(body) for name, body in functions.items() if commits(body) and not EXEMPT.search(name)]
    done: set[str] = set()
    while todo:
        for file, number, line in todo.pop():
            if aside(file, number):
                continue
            for api in _API.findall(line):
                if not HARMLESS.fullmatch(api) and not _MACRO.fullmatch(api):
                    yield f"{file}:{number}", api
            runs = set(_CALL.findall(line))
            for cls, method in _METHOD.findall(line):
                runs |= methods(cls, method, functions, bases)
            for each in runs - done:
                done.add(each)
                if each in functions and not EXEMPT.search(each):
                    todo.append(whole(functions[each]))


@pytest.mark.skipif(not compiled(), reason="reads what the compiler made")
def test_no_commit_can_run_python_code() -> None:
    functions, _ = read()
    assert sum(map(commits, functions.values())) > 50
    assert not sorted(set(called()))


def test_no_compiled_module_makes_lists_by_comprehension() -> None:
    """Where memory runs out, the compiler's code for them lets go of what it appends twice (Cython 3.3.1)."""
    modules = re.findall(r'"(mbuf\.[\w.]+)"', (ROOT / "setup.py").read_text("utf-8"))
    found = []
    for module in modules:
        path = ROOT / "src" / (module.replace(".", "/") + ".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ListComp):
                found.append(f"{path.name}:{node.lineno}")
    assert modules
    assert not found
