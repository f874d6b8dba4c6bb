"""The tests of the core mirror its modules: `tests/vm/test_page.py` tests `mbuf/vm/page.py`."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Tests of several modules at once, or of all verbs.
OF_SEVERAL = {
    "uma/test_races.py": "zones with threads and signals",
    "packet/test_bad_arguments.py": "all verbs",
    "packet/test_changed_chains.py": "all verbs that allocate",
    "packet/test_one_byte_mbufs.py": "all verbs with cases",
}

#: Modules that are tested through others.
TESTED_ELSEWHERE = {
    "vm/interpreter.py": "process/test_interpreter.py",
    "vm/pagemap.py": "vm/test_vm.py",
    "uma/audit.py": "pool/test_audit.py",
    "uma/backend.py": "uma/test_item.py",
    "uma/claim.py": "uma/test_budget.py",
    "uma/counters.py": "uma/test_zone.py",
    "uma/refill.py": "uma/test_zone.py",
    "packet/attach.py": "packet/test_external.py",
    "packet/deferred_free.py": "packet/test_ext.py",
    "packet/dump.py": "packet/test_read.py",
    "packet/m_ext.py": "packet/test_ext.py",
    "pool/chain.py": "pool/test_allocator.py",
    "pool/oid.py": "pool/test_sysctl.py",
    "pool/subsystem.py": "pool/test_pool.py",
}

LAYERS = ("vm", "uma", "packet", "pool")


@pytest.mark.parametrize("layer", LAYERS)
def test_each_module_of_the_core_has_a_test_and_each_test_a_module(layer: str) -> None:
    modules = {path.stem for path in (ROOT / "src/mbuf" / layer).glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / layer).glob("test_*.py")}
    elsewhere = {name for name in modules if f"{layer}/{name}.py" in TESTED_ELSEWHERE}
    several = {name for name in tests if f"{layer}/test_{name}.py" in OF_SEVERAL}
    assert modules - tests == elsewhere
    assert tests - modules == several


def test_the_tests_of_these_modules_exist() -> None:
    assert all((ROOT / "src/mbuf" / module).exists() for module in TESTED_ELSEWHERE)
    assert all((ROOT / "tests" / test).exists() for test in (*TESTED_ELSEWHERE.values(), *OF_SEVERAL))
