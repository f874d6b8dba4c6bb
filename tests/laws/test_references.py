"""An object stays alive while a method of it runs: checked in the C that Cython generates for this package.

For `m.buf.read(...)` Cython takes no reference to `m.buf`. If `read` runs user code, that code may free `m`, and with
it the object whose method is running. So if a call may run Python code, the object must be in a variable, which has a
reference: `buf = m.buf`. The same holds for fields that are passed to the C API.
A field that is set only while its object is made keeps its reference, and needs no variable.
"""

import re
from collections.abc import Iterator
from functools import cache

import pytest

from laws.generated import (
    API,
    CALL,
    EXEMPT,
    METHOD,
    C,
    Line,
    calls,
    harmless,
    is_exempt_line,
    methods,
    normal_path,
    read,
)
from mbuf import compiled

#: Functions that set the fields of a new object, and those that Cython generates for each class.
_MAKES = re.compile(
    r"__c?init__|_tp_(new|clear|dealloc|traverse)|_\d*(init|_set|_init_memory|init_counters|make_sharer|enforce|_step)$"
    r"|unmapped_unmapped$|scan_search$|SfBufs_alloc$"
)

#: These run no Python code before they have a reference to their argument, or after they last use it.
_QUICK = re.compile(
    r"__Pyx_(PyLong_From|div|PyUnicode_From|PyList_Append|PyObject_IsTrue|PyObject_CompareBoolNe_bytes_bytes)\w*"
)

_STRUCT = re.compile(r"^struct (__pyx_obj_\w+) \{\n(.*?)^\};", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"^  (?:struct )?(\w+) (\*?)(\w+);", re.MULTILINE)
_VARIABLE = re.compile(r"struct (__pyx_obj_\w+) \*(__pyx_v_\w+)")
_PATH = r"(__pyx_v_\w+)->((?:\w+(?:\.|->))*\w+)"
_SET = re.compile(rf"\s*(?:__Pyx_DECREF_SET\()?{_PATH}(?: = |, )")
_ARGUMENT = re.compile(rf"\(*(?:(?:PyObject|struct \w+) \*\)\(*)?{_PATH}\)*")

Field = tuple[str, str]


@cache
def structs() -> dict[str, dict[str, tuple[str, bool]]]:
    """The fields of each class: type, and whether the field is a pointer."""
    found = {}
    for path in C.rglob("*.c"):
        for name, body in _STRUCT.findall(path.read_text("utf-8")):
            found[name] = {field: (kind, star == "*") for kind, star, field in _FIELD.findall(body)}
    return found


def resolve(variables: dict[str, str], variable: str, path: str) -> Field | None:
    """The class and name of the field at a path from a variable; None if the field does not refer to an object."""
    cls = variables.get(variable, "")
    *steps, last = re.split(r"\.|->", path)
    for step in steps:
        cls = structs().get(cls, {}).get(step, ("", False))[0]
    return (cls, last) if structs().get(cls, {}).get(last, ("", False))[1] else None


def variables(body: list[Line]) -> dict[str, str]:
    """The classes of the variables of a function."""
    return {name: cls for *_, line in body for cls, name in _VARIABLE.findall(line)}


@cache
def set_again() -> set[Field]:
    """The fields that are set after their object was made."""
    found = set()
    for name, body in read()[0].items():
        if not _MAKES.search(name):
            mine = variables(body)
            for *_, line in body:
                if place := _SET.match(line):
                    field = resolve(mine, *place.groups())
                    if field is not None:
                        found.add(field)
    return found


@cache
def may_run_python() -> set[str]:
    """The functions of this package that may run Python code."""
    functions, _ = read()
    runs, callers = set(), {}
    for name, body in functions.items():
        if EXEMPT.search(name):
            continue
        for file, number, line in normal_path(body):
            if not is_exempt_line(file, number):
                if not all(map(harmless, API.findall(line))):
                    runs.add(name)
                for each in calls(line):
                    callers.setdefault(each, set()).add(name)
    todo = list(runs)
    while todo:
        more = callers.get(todo.pop(), set()) - runs
        runs |= more
        todo += more
    return runs


def arguments(line: str, start: int) -> Iterator[str]:
    """The arguments of the call whose arguments begin at that index of a line."""
    depth, text = 1, ""
    for char in line[start:]:
        depth += (char in "([") - (char in ")]")
        if depth == 0 or (depth == 1 and char == ","):
            yield text.strip()
            text = ""
            if depth == 0:
                return
        else:
            text += char


def borrowed() -> Iterator[str]:
    """The calls that may run Python code, whose argument is a field that this code may set."""
    for body in read()[0].values():
        mine = variables(body)
        for file, number, line in body:
            if is_exempt_line(file, number):
                continue
            ends = [c.end() for c in CALL.finditer(line) if c[1] in may_run_python()]
            ends += [c.end() for c in METHOD.finditer(line) if methods(c[1], c[2]) & may_run_python()]
            ends += [c.end() for c in API.finditer(line) if not harmless(c[1]) and not _QUICK.fullmatch(c[1])]
            for end in ends:
                for argument in arguments(line, end):
                    place = _ARGUMENT.fullmatch(argument)
                    if place and resolve(mine, *place.groups()) in set_again():
                        yield f"{file}:{number}: {place[2]}"


@pytest.mark.skipif(not compiled(), reason="reads the generated C")
def test_calls_that_may_run_python_code_hold_references_to_their_objects() -> None:
    assert ("__pyx_obj_4mbuf_2vm_4page_Exporter", "buf") in set_again()
    assert "__pyx_f_4mbuf_6packet_8unmapped_8Unmapped_read" in may_run_python()
    assert not sorted(set(borrowed()))
