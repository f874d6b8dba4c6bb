"""The C that the compiler makes of this package, read by laws: functions, their lines, and what they call."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
C = ROOT / "build" / "cython" / "src" / "mbuf"

#: What can't lead to Python code: raising, looking at the type of what is there, names of a module of ours, and lists,
#: tuples, dictionaries with keys of numbers, made before.
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
    """The functions of all modules, each line with its place in the source; and of each class its base.

    The first line of a function is its parameters.
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


def whole(body: list[Line]) -> list[Line]:
    """The lines of a function, up to where it has failed."""
    for n, (*_, line) in enumerate(body):
        if "_error:;" in line:
            return body[:n]
    return body


def _mangled(cls: str, method: str) -> str:
    module, _, name = cls.rpartition("_")
    return f"__pyx_f_{module}_{len(name)}{name}_{method}"


@cache
def methods(cls: str, method: str) -> set[str]:
    """What such a call may run: the method of the class, or of its nearest base, and of all classes made of it."""
    functions, bases = read()
    found = set()
    at = cls
    while at:
        if _mangled(at, method) in functions:
            found.add(_mangled(at, method))
            break
        at = bases.get(at, "")
    for other in bases:
        above = other
        while above and above != cls:
            above = bases.get(above, "")
        if above and _mangled(other, method) in functions:
            found.add(_mangled(other, method))
    return found


def calls(line: str) -> set[str]:
    """The functions of ours that a line may call."""
    return set(CALL.findall(line)).union(*(methods(*found) for found in METHOD.findall(line)))


def harmless(api: str) -> bool:
    """True for a function or macro of the interpreter that can't lead to Python code."""
    return bool(HARMLESS.fullmatch(api) or _MACRO.fullmatch(api))


@cache
def _source(file: str) -> list[str]:
    return (ROOT / "src" / file).read_text("utf-8").splitlines()


def aside(file: str, number: int) -> bool:
    """True where the source raises an error; and at a method's head, where one of a Python subclass is looked for."""
    return file.endswith(".py") and _source(file)[number - 1].strip().startswith(("raise ", "def "))
