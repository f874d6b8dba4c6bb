"""No commit runs user code: checked in the C that Cython generates for this package.

Between `enter_commit` and `leave_commit`, and in every function of this package that is called there, only those
functions of the C API are called that can't run Python code: see `generated.HARMLESS`. An error ends the commit.
"""

import ast
from collections.abc import Iterable, Iterator

import pytest

from laws.generated import API, EXEMPT, ROOT, Line, calls, harmless, is_exempt_line, normal_path, read
from mbuf import compiled
from mbuf.objects import COMPILED


def has_commit(body: list[Line]) -> bool:
    """True if the function has a commit."""
    return any("commit_enter_commit(" in line for *_, line in body)


def commit_lines(body: list[Line]) -> Iterator[Line]:
    """The lines of a function that are in a commit."""
    inside = False
    for line in body:
        if "commit_enter_commit(" in line[2]:
            inside = True
        elif "leave_commit(" in line[2] or "_error:;" in line[2]:
            inside = False
        elif inside:
            yield line


def api_calls() -> Iterator[tuple[str, str]]:
    """The calls of the C API in commits that may run Python code: source line and function."""
    functions, _ = read()
    with_commit = [body for name, body in functions.items() if has_commit(body) and not EXEMPT.search(name)]
    todo: list[Iterable[Line]] = [commit_lines(body) for body in with_commit]
    done: set[str] = set()
    while todo:
        for file, number, line in todo.pop():
            if is_exempt_line(file, number):
                continue
            for api in API.findall(line):
                if not harmless(api):
                    yield f"{file}:{number}", api
            for each in calls(line) - done:
                done.add(each)
                if each in functions and not EXEMPT.search(each):
                    todo.append(normal_path(functions[each]))


@pytest.mark.skipif(not compiled(), reason="reads the generated C")
def test_no_commit_can_run_python_code() -> None:
    functions, _ = read()
    assert sum(map(has_commit, functions.values())) > 50
    assert not sorted(set(api_calls()))


def test_no_compiled_module_makes_lists_by_comprehension() -> None:
    """If memory runs out in one, the code that Cython 3.3.1 generates releases the appended object twice."""
    found = []
    for module in COMPILED:
        path = ROOT / "src" / (module.replace(".", "/") + ".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ListComp):
                found.append(f"{path.name}:{node.lineno}")
    assert not found
