"""What `help` and `inspect.signature` show of compiled code, as of the sources."""

import copy
import dataclasses
import inspect
import json
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

from mbuf import Vm, compiled
from mbuf.net.port.port import PortStat
from mbuf.uma.stat import ZoneStat

SRC = Path(__file__).parents[2] / "src"

#: Prints the parameters of each class, method and function of compiled modules: name, kind, default if it is a literal.
READ = """
import ast, importlib, inspect, json, re, sys

from mbuf.objects import COMPILED

def default(value):
    text = repr(value)
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return "Ellipsis"
    return text

def shown(thing):
    parameters = inspect.signature(thing).parameters.values()
    return [
        [p.name, int(p.kind), None if p.default is p.empty else default(p.default)]
        for p in parameters
        if p.name not in ("self", "cls")
    ]

found = {}
for module in map(importlib.import_module, COMPILED):
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(thing):
            if "__init__" in vars(thing):
                # Uncompiled, some classes have a `__new__` that takes anything.
                found[f"{module.__name__}.{name}"] = thing.__init__ if inspect.isfunction(thing.__init__) else thing
            for key, method in vars(thing).items():
                if not key.startswith("_") and inspect.isroutine(method):
                    found[f"{module.__name__}.{name}.{key}"] = getattr(thing, key)
        elif inspect.isroutine(thing):
            found[f"{module.__name__}.{name}"] = thing

signatures = {}
for name, thing in found.items():
    try:
        signatures[name] = shown(thing)
    except ValueError as error:
        signatures[name] = str(error)
print(json.dumps(signatures))
"""


def signatures(path: list[str]) -> dict[str, object]:
    """What `inspect.signature` says of all that is public in compiled modules, in a process with that path."""
    start = f"import sys; sys.path[:0] = {path!r}\n{READ}"
    run = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    return dict(json.loads(run.stdout))


@pytest.mark.skipif(not compiled(), reason="about what the compiler makes")
def test_compiled_signatures_are_those_of_the_sources() -> None:
    written, made = signatures([str(SRC)]), signatures([])
    assert len(made) > 300
    # What Python code can't see, since it is a function of C, is left out.
    assert {name: made[name] for name in made} == {name: written.get(name) for name in made}


@pytest.mark.parametrize(
    ("cls", "field", "text"),
    [
        (ZoneStat, "used", "Items handed out"),
        (PortStat, "denied", "because the pool refused"),
        pytest.param(Vm, "lowmem", "VM_LOW_PAGES", marks=pytest.mark.skipif(not compiled(), reason="instance fields")),
    ],
)
def test_help_shows_the_comments_of_fields(cls: type, field: str, text: str) -> None:
    assert text in (inspect.getdoc(getattr(cls, field)) or "")
    assert text in pydoc.plain(pydoc.render_doc(cls))


def test_a_class_with_documented_fields_is_as_before() -> None:
    stat = PortStat(denied=3)
    assert pickle.loads(pickle.dumps(stat)) == stat == copy.copy(stat)
    assert list(PortStat.__slots__) == [field.name for field in dataclasses.fields(PortStat)]
