import ast
from pathlib import Path

from mbuf import PROBES

SOURCES = Path(__file__).parents[2] / "src" / "mbuf"


def test_what_is_fired_is_in_the_table_and_the_other_way_round() -> None:
    fired: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "fire":
                # By the method, or by the function that is given the allocator first.
                name = node.args[isinstance(node.func, ast.Name)]
                fired |= {part.value for part in ast.walk(name) if isinstance(part, ast.Constant)}
    assert fired == set(PROBES)
