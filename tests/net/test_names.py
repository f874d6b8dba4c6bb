"""The names of `mbuf.net`: each can be imported, and is loaded only when it is used."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mbuf import net

LISTED = "import sys; print(*sorted(m for m in sys.modules if m.startswith('mbuf.net.') or m in {others!r}))"


def loaded(statement: str, *others: str) -> list[str]:
    """Modules of the package, and which of the others, that a fresh process has loaded after a statement."""
    program = f"{statement}; {LISTED.format(others=others)}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize("name", net.__all__)
def test_a_name_is_that_of_the_module_that_defines_it(name: str) -> None:
    value = getattr(net, name)
    assert value.__name__ == name
    assert value is getattr(import_module(value.__module__), name)
    assert vars(net)[name] is value
    assert name in dir(net)


def test_all_names_can_be_imported_at_once() -> None:
    names: dict[str, object] = {}
    exec("from mbuf.net import *", names)
    assert set(net.__all__) <= set(names)


def relative(module: str) -> str:
    """The name of a module, relative to `mbuf.net`."""
    return module.removeprefix("mbuf.net.") if module.startswith("mbuf.net.") else module.removeprefix("mbuf")


def test_type_checkers_see_the_same_names() -> None:
    assert net.__file__ is not None
    tree = ast.parse(Path(net.__file__).read_text("utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: relative(node.module or "") for node in imports for alias in node.names}
    assert seen == net._MODULES
    assert sorted(seen) == sorted(net.__all__)


def test_importing_the_package_loads_none_of_its_modules() -> None:
    assert loaded("import mbuf, mbuf.net") == []


def test_importing_the_package_loads_neither_asyncio_nor_ssl() -> None:
    before = loaded("import mbuf", "asyncio", "ssl")
    assert loaded("import mbuf.net", "asyncio", "ssl") == before


def test_a_name_loads_its_module_and_not_the_others() -> None:
    modules = loaded("from mbuf.net import QueuePort")
    assert "mbuf.net.port.queueport" in modules
    assert not [module for module in modules if not module.startswith("mbuf.net.port")]


def test_ports_do_not_load_asyncio() -> None:
    before = loaded("import mbuf", "asyncio")
    modules = loaded("from mbuf.net import SocketPort, StreamPort, TunPort, UdpPort", "asyncio")
    assert "mbuf.net.writable" not in modules
    assert ("asyncio" in modules) == ("asyncio" in before)


def test_an_unknown_name_is_an_attribute_error() -> None:
    unknown = "UdpPrt"
    with pytest.raises(AttributeError, match=r"^module 'mbuf\.net' has no attribute 'UdpPrt'$"):
        getattr(net, unknown)
