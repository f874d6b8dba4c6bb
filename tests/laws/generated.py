"""The C that Cython generates for this package: its functions, their lines, and what they call."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
C = ROOT / "build" / "cython" / "src" / "mbuf"

#: Functions of the C API that can't run Python code: they raise, test a type, read a global of a module of this
#: package, or access an existing list, tuple, or dictionary whose keys are numbers.
HARMLESS = re.compile(
    r"PyErr_(Format|SetString|Occurred)|__Pyx_(TypeTest|Raise\w*|PyErr_\w+)|Py(Tuple|List)_GET_\w+|Py(Dict|List)_Size"
    r"|PyDict_(SetItem|DelItem)|__Pyx_(SetItemInt|GetItemInt_List|GetItemInt_Tuple)|PyLong_FromSsize_t"
    r"|Py(List|Tuple)_CheckExact|__Pyx_Py(List|Tuple)_(GET|SET)_\w+|__Pyx_PyDict_GetItemDefault|__Pyx_PySequence_ITEM"
    r"|__Pyx_(GetModuleGlobalName|TypeCheck|ExceptionSave|div_Py_ssize_t)"
)

#: Functions that may run Python code in a commit: an audit only reads, an item is made before anything has changed, and
#: only tests set the hook.
EXEMPT = re.compile(
    r"_\d*(_?contradiction|_wrong_\w+|_unknown|audit\w*|_call_hook)$|Keg__make$|_commit_(enter|leave)_commit$"
    r"|_run_releases_unraisable$"
)

_HEAD = re.compile(r"^(?!typedef|#|\s).*?\b(__pyx_\w+)\((.*)\) \{$")
API = re.compile(
    r"\b(__Pyx_\w+|Py(?:Object|Number|Sequence|List|Dict|Tuple|Unicode|Long|Err|Set|Iter|Mapping)_\w+)\s*\("
)
_MACRO = re.compile(
    r"__Pyx_(X?(INC|DEC|GOT|GIVE)REF\w*|CLEAR|NewRef|RefNanny\w*|XNewRef|TraceLine\w*|\w*Sub\w*Type\w*|memviewslice\w*)$"
)
CALL = re.compile(r"\b(__pyx_f_\w+)\(")
METHOD = re.compile(r"struct __pyx_vtabstruct_(\w+) \*\)[^;]*?__pyx_vtab\)?\)?->(?:__pyx_base\.)*(\w+)\(")
_VTAB = re.compile(r"struct __pyx_vtabstruct_(\w+) \{\n(?:  struct __pyx_vtabstruct_(\w+) __pyx_base;)?")
_PLACE = re.compile(r'\s*/\* "([^"]*)":(\d+)')

Line = tuple[str, int, str]
Functions = dict[str, list[Line]]


@cache
def read() -> tuple[Functions, dict[str, str]]:
    """The functions of all modules, each line with its source file and line number; and the base of each class.

    The first line of a function has its parameters.
    """
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
                    body = functions.setdefault(head[1], [("", 0, head[2])])
            elif line == "}":
                body = None
            elif found := _PLACE.match(line):
                place = found[1], int(found[2])
            elif not line.lstrip().startswith(("*", "/*")):
                body.append((*place, line))
    return functions, bases


def normal_path(body: list[Line]) -> list[Line]:
    """The lines of a function, without its code for errors."""
    for n, (*_, line) in enumerate(body):
        if "_error:;" in line:
            return body[:n]
    return body


def _mangle(cls: str, method: str) -> str:
    module, _, name = cls.rpartition("_")
    return f"__pyx_f_{module}_{len(name)}{name}_{method}"


@cache
def methods(cls: str, method: str) -> set[str]:
    """The functions that a method call may run: that of the class or its nearest base, and those of all subclasses."""
    functions, bases = read()
    found = set()
    base = cls
    while base:
        if _mangle(base, method) in functions:
            found.add(_mangle(base, method))
            break
        base = bases.get(base, "")
    for other in bases:
        above = other
        while above and above != cls:
            above = bases.get(above, "")
        if above and _mangle(other, method) in functions:
            found.add(_mangle(other, method))
    return found


def calls(line: str) -> set[str]:
    """The functions of this package that a line may call."""
    return set(CALL.findall(line)).union(*(methods(*found) for found in METHOD.findall(line)))


def harmless(api: str) -> bool:
    """True for a function or macro of the C API that can't run Python code."""
    return bool(HARMLESS.fullmatch(api) or _MACRO.fullmatch(api))


@cache
def _source(file: str) -> list[str]:
    return (ROOT / "src" / file).read_text("utf-8").splitlines()


def is_exempt_line(file: str, number: int) -> bool:
    """True for a line that raises an error, and for the head of a method, where a Python override is looked up."""
    return file.endswith(".py") and _source(file)[number - 1].strip().startswith(("raise ", "def "))
