"""The probes that the code fires are those of the table `PROBES`."""

import ast
from pathlib import Path

from mbuf import PROBES

SOURCES = Path(__file__).parents[2] / "src" / "mbuf"


def test_each_fired_probe_is_in_the_table_and_each_probe_is_fired() -> None:
    fired: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "fire":
                # The function `fire` takes the allocator before the name; the method doesn't.
                name = node.args[isinstance(node.func, ast.Name)]
                fired |= {part.value for part in ast.walk(name) if isinstance(part, ast.Constant)}
    assert fired == set(PROBES)
