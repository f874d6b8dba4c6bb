import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

import mbuf
from mbuf import compiled
from mbuf.objects import COMPILED, LAYERS, OBJECT

ROOT = Path(__file__).parents[1]
PACKAGE = Path(mbuf.__file__).parent


def test_each_compiled_module_is_there_and_is_named_once() -> None:
    assert all((ROOT / "src" / name.replace(".", "/")).with_suffix(".py").exists() for name in COMPILED)
    assert len(set(COMPILED)) == len(COMPILED)


@pytest.mark.skipif(not compiled(), reason="about shared objects")
def test_the_modules_of_a_layer_are_in_one_shared_object() -> None:
    for layer, names in LAYERS.items():
        files = {importlib.import_module(f"mbuf.{layer}.{name}").__file__ for name in names}
        assert len(files) == 1
        assert Path(str(files.pop())).name.startswith(f"{OBJECT}.")


@pytest.mark.skipif(compiled(), reason="about the uncompiled sources")
def test_uncompiled_modules_are_found_as_usual() -> None:
    finders = {type(sys.path_importer_cache.get(str(PACKAGE / layer))).__name__ for layer in LAYERS}
    assert finders <= {"FileFinder", "NoneType"}


@pytest.mark.parametrize("layer", LAYERS)
def test_all_modules_of_a_layer_are_listed_and_found_again(layer: str) -> None:
    package = importlib.import_module(f"mbuf.{layer}")
    importlib.invalidate_caches()
    found = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert found - {OBJECT} == {path.stem for path in (PACKAGE / layer).glob("*.py")} - {"__init__"}
    assert all(importlib.util.find_spec(f"mbuf.{layer}.{name}") for name in found - {OBJECT})
    assert importlib.util.find_spec(f"mbuf.{layer}.nothing") is None
