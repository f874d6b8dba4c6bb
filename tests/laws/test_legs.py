"""Both legs have the same public methods and properties. The .pxd lists the fields."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mbuf import compiled

ROOT = Path(__file__).parents[2]
LISTING = r"""
import importlib, inspect, json, re, sys
from pathlib import Path
src, seen, fields = Path(sys.argv[1]), {}, {}
modules = [".".join(types.relative_to(src).with_suffix("").parts) for types in sorted(src.rglob("*.pxd"))
           if types.with_suffix(".py").exists()]
for module in modules:
    text = (src / (module.replace(".", "/") + ".pxd")).read_text("utf-8")
    for head, body in re.findall(r"^cdef class (\w+).*\n((?:(?: .*)?\n)*)", text, re.M):
        fields[f"{module}.{head}"] = set(re.findall(r"^ +cdef [^(\n]*?(\w+)(?:\(.*|)$", body, re.M))
        rows = re.findall(r"^ +cdef [^(\n]*,[^(\n]*$", body, re.M)
        fields[f"{module}.{head}"] |= {name for row in rows for name in re.findall(r"(\w+),", row)}
for module in modules:
    for cls in vars(importlib.import_module(module)).values():
        if inspect.isclass(cls) and cls.__module__ == module and cls.__name__[0] != "_":
            typed = set().union(*(fields.get(f"{c.__module__}.{c.__name__}", set()) for c in cls.__mro__))
            typed |= {n for n in dir(cls) if inspect.ismemberdescriptor(getattr(cls, n))}
            seen[f"{module}.{cls.__name__}"] = sorted(n for n in set(dir(cls)) - typed if n[0] != "_")
json.dump(seen, sys.stdout)
"""


def names(path: str) -> dict[str, list[str]]:
    """The public names of every class that has C types, in an interpreter with that PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", LISTING, str(ROOT / "src")]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, cwd=ROOT)
    seen: dict[str, list[str]] = json.loads(done.stdout)
    return seen


@pytest.mark.skipif(not compiled(), reason="the compiled leg compares itself with the pure leg")
def test_both_legs_have_the_same_public_names() -> None:
    ours, theirs = names(os.environ.get("PYTHONPATH", "")), names(str(ROOT / "src"))
    assert ours.keys() == theirs.keys()
    differences = {name: sorted(set(ours[name]) ^ set(theirs[name])) for name in ours if ours[name] != theirs[name]}
    assert not differences, "a name is public on one leg only: declare it in the .pxd, or make it private"
