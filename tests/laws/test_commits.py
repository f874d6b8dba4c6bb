"""No commit runs user code: read from the C that the compiler makes of this package.

Between `enter_commit` and `leave_commit`, and in every function of ours that is called there, nothing of the
interpreter is called but what can't lead to Python code: see `generated.HARMLESS`. Where an error is raised the commit
is over.
"""

import ast
import re
from collections.abc import Iterable, Iterator

import pytest

from laws.generated import API, EXEMPT, ROOT, Line, aside, calls, harmless, read, whole
from mbuf import compiled


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


def called() -> Iterator[tuple[str, str]]:
    """All that is called in commits of the interpreter: where, and what."""
    functions, _ = read()
    mine = [body for name, body in functions.items() if commits(body) and not EXEMPT.search(name)]
    todo: list[Iterable[Line]] = [committed(body) for body in mine]
    done: set[str] = set()
    while todo:
        for file, number, line in todo.pop():
            if aside(file, number):
                continue
            for api in API.findall(line):
                if not harmless(api):
                    yield f"{file}:{number}", api
            for each in calls(line) - done:
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
