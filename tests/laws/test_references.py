"""What is called is kept alive while it runs: read from the C that the compiler makes of this package.

For `m.buf.read(...)` the compiler takes no reference to what `m.buf` is. If `read` runs user code, this may free `m`,
and with it the object whose method is running. So where a call may lead to Python code, its object is in a variable
first, which has a reference: `buf = m.buf`. It is the same where the interpreter is called with a field.
Fields that are never set again after their object was made keep what they refer to, and need no variable.
"""

import re
from collections.abc import Iterator
from functools import cache

import pytest

from laws.generated import API, CALL, EXEMPT, METHOD, C, Line, aside, calls, harmless, methods, read, whole
from mbuf import compiled

#: Functions in which the fields of a new object are set, and those that the compiler makes for each class.
_MAKES = re.compile(
    r"__c?init__|_tp_(new|clear|dealloc|traverse)|_\d*(init|_set|_init_memory|init_counters|make_sharer|enforce|_step)$"
    r"|unmapped_unmapped$|scan_search$|SfBufs_alloc$"
)

#: Nothing of these runs before they have a reference to their argument, or are done with it.
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
    """The fields of each class: type, and whether it is a pointer."""
    found = {}
    for path in C.rglob("*.c"):
        for name, body in _STRUCT.findall(path.read_text("utf-8")):
            found[name] = {field: (kind, star == "*") for kind, star, field in _FIELD.findall(body)}
    return found


def resolved(variables: dict[str, str], variable: str, path: str) -> Field | None:
    """The class and name of a field that refers to an object, given by a path from a variable."""
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
    """The fields that are set elsewhere than where their object is made."""
    found = set()
    for name, body in read()[0].items():
        if not _MAKES.search(name):
            mine = variables(body)
            for *_, line in body:
                if place := _SET.match(line):
                    field = resolved(mine, *place.groups())
                    if field is not None:
                        found.add(field)
    return found


@cache
def may_run_python() -> set[str]:
    """The functions of ours that may lead to Python code."""
    functions, _ = read()
    runs, callers = set(), {}
    for name, body in functions.items():
        if EXEMPT.search(name):
            continue
        for file, number, line in whole(body):
            if not aside(file, number):
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


def arguments(line: str, at: int) -> Iterator[str]:
    """The arguments of a call that begins at a place of a line."""
    depth, text = 1, ""
    for char in line[at:]:
        depth += (char in "([") - (char in ")]")
        if depth == 0 or (depth == 1 and char == ","):
            yield text.strip()
            text = ""
            if depth == 0:
                return
        else:
            text += char


def borrowed() -> Iterator[str]:
    """The calls that may lead to Python code, with an object of a field that may be set meanwhile."""
    for body in read()[0].values():
        mine = variables(body)
        for file, number, line in body:
            if aside(file, number):
                continue
            ends = [c.end() for c in CALL.finditer(line) if c[1] in may_run_python()]
            ends += [c.end() for c in METHOD.finditer(line) if methods(c[1], c[2]) & may_run_python()]
            ends += [c.end() for c in API.finditer(line) if not harmless(c[1]) and not _QUICK.fullmatch(c[1])]
            for end in ends:
                for argument in arguments(line, end):
                    place = _ARGUMENT.fullmatch(argument)
                    if place and resolved(mine, *place.groups()) in set_again():
                        yield f"{file}:{number}: {place[2]}"


@pytest.mark.skipif(not compiled(), reason="reads what the compiler made")
def test_what_may_run_python_code_is_called_with_references() -> None:
    assert ("__pyx_obj_4mbuf_2vm_4page_Exporter", "buf") in set_again()
    assert "__pyx_f_4mbuf_6packet_8unmapped_8Unmapped_read" in may_run_python()
    assert not sorted(set(borrowed()))
