"""Rules for the package that a program can check: layers, imports, raw memory, module state, file sizes."""

import ast
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from laws.sources import Sources, identifiers, layer_of, within

SRC = Path(__file__).parents[2] / "src"

# The lowest layer first. "" is the package itself, with the public names.
LAYERS = (
    ("const", "errors", "fielddocs", "kinds", "objects", "shadow"),
    ("vm",),
    ("uma",),
    ("packet",),
    ("pool",),
    ("net", "stats", "testing"),
    ("http",),
    ("",),
    ("cli", "__main__"),
)
CORE = ("vm", "uma", "packet", "pool")

# The modules that may import `packet.unmapped`. The others use what any memory can do.
UNMAPPED = ("extpg", "read", "pages", "record", "mapped", "mbuf")
# The modules that may not.
NO_UNMAPPED = (
    *("append", "attach", "build", "chain", "cluster", "copy", "defrag", "epg", "ext"),
    *("external", "header", "nofree", "pkthdr"),
    *("plan", "pullup", "queue", "segment", "segmentation", "sockbuf", "source", "splice", "streambuf", "tag", "trim"),
)

# (module, module that it may not import although it is in a lower layer, what to do instead).
FORBIDDEN = (
    *((f"packet.{name}", "packet.unmapped", f"only {', '.join(UNMAPPED)} may import it") for name in NO_UNMAPPED),
    ("packet", "uma.zone", "an item gives its zone as an ItemOwner"),
    ("packet", "pool", "ask the Source"),
    ("net", "uma", "ask the pool: only it reads a zone"),
    ("net", "stats", "let the caller connect the two"),
)
STATS_MAY_IMPORT = (
    *("const", "errors", "fielddocs", "kinds", "stats", "uma.stat"),
    *("pool.stat", "pool.statpage", "net.port.port"),
)

POINTER_FILES = (
    "vm/arena.*",
    "vm/page.*",
    "vm/buffer_export.*",
    "vm/scan.*",
    "vm/sfbuf.*",
    "uma/bucket.*",
    "net/udp/*mmsg.*",
)
RAW_NAMES = {
    "memcpy": POINTER_FILES,
    "memmove": POINTER_FILES,
    "Py_buffer": POINTER_FILES,
    "mmap": (*POINTER_FILES, "net/capture/capture.py", "net/capture/pcap*.py"),
}

MUTABLE_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MUTABLE_TYPES = ("list", "dict", "set", "deque", "defaultdict", "OrderedDict", "Counter", "bytearray")

MAX_LINES = 450
#: A facade has every method of a public class in one file.
FACADES = {"packet/mbuf.py": 1500, "pool/pool.py": 1500}
#: The longest theory of operation.
MAX_DOCSTRING_LINES = 60
#: These pass exceptions to `sys.unraisablehook`.
MAY_CATCH_ALL = ("vm/commit.py", "vm/unraisable.py")


def level(module: str) -> int:
    """The number of a module's layer, or -1 if it is in none."""
    return next((n for n, layer in enumerate(LAYERS) if layer_of(module) in layer), -1)


def core_trees(sources: Sources) -> Iterator[tuple[str, ast.Module]]:
    """The trees of the layers whose modules have no state and catch no unknown exception."""
    return ((path, tree) for path, tree in sources.trees.items() if path.split("/")[0] in CORE)


def imports_go_down(sources: Sources) -> Iterator[str]:
    for module in sorted(sources.modules):
        if level(module) < 0:
            yield f"{module} is in no layer: move it into one of {LAYERS}"
    for module, target in sources.pairs():
        if level(target) > level(module):
            yield f"{module} imports {target or 'mbuf'} from a higher layer: move it down, or declare an interface"


def imports_have_no_cycle(sources: Sources) -> Iterator[str]:
    """Imports that only a type checker reads may form a cycle: an interface names the types of the layer above."""
    try:
        TopologicalSorter(sources.runtime_imports).prepare()
    except CycleError as error:
        yield f"{' imports '.join(reversed(error.args[1]))}: move what both need to a third module"


def no_forbidden_imports(sources: Sources) -> Iterator[str]:
    for module, target in sources.pairs():
        for importer, imported, instead in FORBIDDEN:
            if within(module, importer) and within(target, imported):
                yield f"{module} may not import {target}: {instead}"
        if within(module, "stats") and not any(within(target, seen) for seen in STATS_MAY_IMPORT):
            yield f"{module} may not import {target}: printers read only snapshots"
        if within(target, "cli") and level(module) < level("cli"):
            yield f"{module} may not import {target}: move what it needs below cli"


def raw_memory_stays_in_its_files(sources: Sources) -> Iterator[str]:
    for path, text in sources.files.items():
        for name in sorted(identifiers(path, text) & RAW_NAMES.keys()):
            if not any(fnmatch(path, pattern) for pattern in RAW_NAMES[name]):
                yield f"{path} uses {name}: call vm/page.py, or move the code to {' or '.join(RAW_NAMES[name])}"


def no_broad_except(sources: Sources) -> Iterator[str]:
    for path, tree in core_trees(sources):
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = {"Exception"} if node.type is None else {ast.unparse(n) for n in ast.walk(node.type)}
                if "Exception" in caught and path not in MAY_CATCH_ALL:
                    yield f"{path}:{node.lineno} catches every exception: name those that it can handle"


def modules_have_no_state(sources: Sources) -> Iterator[str]:
    for path, tree in core_trees(sources):
        for node in at_import(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and is_mutable(node.value):
                yield f"{path}:{node.lineno} is mutable: make it a tuple, frozenset or MappingProxyType"
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                yield f"{path}:{node.lineno} changes its module's {node.names[0]}: keep it in an instance"


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is imported, without the bodies of its classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt) and not isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield child
            yield from at_import(child)
        elif isinstance(child, ast.ExceptHandler):
            yield from at_import(child)


def is_mutable(value: ast.expr | None) -> bool:
    """True if an expression makes a mutable container."""
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).removesuffix(".fromkeys").split(".")[-1] in MUTABLE_TYPES
    return isinstance(value, MUTABLE_DISPLAYS)


def files_are_short(sources: Sources) -> Iterator[str]:
    for path, text in sources.files.items():
        lines = len(text.splitlines())
        most = FACADES.get(path, MAX_LINES)
        if lines > most:
            yield f"{path} has {lines} lines, more than {most}: split it by topic"


def modules_have_docstrings(sources: Sources) -> Iterator[str]:
    for path, tree in sources.trees.items():
        lines = len((ast.get_docstring(tree) or "").splitlines())
        if tree.body and not lines:
            yield f"{path} has no docstring: state what it holds and how it works"
        if lines > MAX_DOCSTRING_LINES:
            yield f"{path}'s docstring has {lines} lines: cut it to {MAX_DOCSTRING_LINES}"


Rule = Callable[[Sources], Iterator[str]]
RULES: tuple[Rule, ...] = (
    imports_go_down,
    imports_have_no_cycle,
    no_forbidden_imports,
    raw_memory_stays_in_its_files,
    no_broad_except,
    modules_have_no_state,
    files_are_short,
    modules_have_docstrings,
)


@pytest.fixture(scope="module")
def sources() -> Sources:
    paths = sorted(path for suffix in ("py", "pxd") for path in SRC.glob(f"mbuf/**/*.{suffix}"))
    return Sources({path.relative_to(SRC / "mbuf").as_posix(): path.read_text("utf-8") for path in paths})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(sources: Sources, rule: Rule) -> None:
    errors = list(rule(sources))
    assert not errors, "\n".join(errors)


VALID = {
    "__init__.py": '"""Names."""\nfrom mbuf.pool.pool import Pool',
    "const.py": '"""Numbers."""\nKINDS = {}',
    "errors.py": "",
    "vm/__init__.py": "",
    "vm/page.py": '"""Bytes."""\nimport mmap\nfrom cython.cimports.libc.string import memcpy',
    "vm/page.pxd": "from libc.string cimport memcpy\ncdef int take() except? -1",
    "uma/zone.py": '"""Zones do not use mmap."""\nfrom mbuf.vm import page',
    "uma/stat.py": '"""Numbers."""\nfrom types import MappingProxyType\nNAMES = MappingProxyType({})',
    "packet/mbuf.py": '"""M."""\nfrom . import extpg\nfrom ..vm import page\ntry:\n    pass\nexcept OSError:\n    pass',
    "packet/mbuf.pxd": "from mbuf.vm.page cimport Run  # not memcpy",
    "packet/unmapped.py": '"""Pages."""\nfrom mbuf import const',
    "packet/trim.py": '"""Chains."""\nfrom mbuf import const',
    "packet/extpg.py": '"""Unmapped pages."""\nfrom . import unmapped\nfrom mbuf import const',
    "pool/pool.py": '"""Pools."""\ndef make():\n    found = []\n    return found',
    "pool/stat.py": '"""Numbers."""\nfrom mbuf.uma.stat import ZoneStat',
    "net/capture/capture.py": '"""Files."""\nimport mmap\nimport mbuf.pool.pool\nCACHE = []',
    "stats/netstat.py": '"""Lines."""\nfrom mbuf.pool.stat import PoolStat\nfrom mbuf.errors import Inval',
    "cli/main.py": '"""Commands."""\nfrom mbuf.stats import netstat\nimport mbuf',
}

# (rule, file, its text, part of the error; None where the rule is kept)
VIOLATIONS = [
    (imports_go_down, "vm/page.py", "from mbuf.uma.zone import Zone", "vm.page imports uma.zone"),
    (imports_go_down, "vm/page.py", "def late():\n    from mbuf.uma import zone", "vm.page imports uma.zone"),
    (imports_go_down, "vm/page.pxd", "from mbuf.uma.zone cimport Zone", "vm.page imports uma.zone"),
    (imports_go_down, "vm/page.pxd", "cimport mbuf.uma.zone", "vm.page imports uma.zone"),
    (
        imports_go_down,
        "vm/page.pxd",
        "from mbuf.uma cimport (\n    zone,\n)",
        "vm.page imports uma.zone",
    ),
    (
        imports_go_down,
        "vm/page.py",
        "from cython.cimports.mbuf.uma.zone import Zone",
        "vm.page imports uma.zone",
    ),
    (imports_go_down, "vm/page.py", "from ..uma import zone", "vm.page imports uma.zone"),
    (imports_go_down, "pool/pool.py", "import mbuf", "pool.pool imports mbuf from a higher layer"),
    (imports_go_down, "pool/pool.py", "from mbuf import Pool", "pool.pool imports mbuf from a higher layer"),
    (imports_go_down, "helpers.py", "", "helpers is in no layer"),
    (
        imports_have_no_cycle,
        "packet/extpg.pxd",
        "from mbuf.packet cimport mbuf",
        "packet.extpg imports packet.mbuf",
    ),
    (
        imports_have_no_cycle,
        "vm/page.py",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from mbuf.pool import pool\nfrom mbuf.uma import zone",
        "uma.zone imports vm.page",
    ),
    (
        imports_have_no_cycle,
        "packet/extpg.py",
        "if TYPE_CHECKING:\n    from mbuf.packet.mbuf import Mbuf",
        None,
    ),
    (
        no_forbidden_imports,
        "packet/trim.py",
        "if TYPE_CHECKING:\n    from mbuf.packet.unmapped import Unmapped",
        "may not import packet.unmapped",
    ),
    (imports_have_no_cycle, "vm/__init__.py", "from . import page\n", None),
    (no_forbidden_imports, "packet/trim.py", "from . import unmapped", "may not import packet.unmapped"),
    (
        no_forbidden_imports,
        "packet/extpg.py",
        "from mbuf.uma.zone import Zone",
        "packet.extpg may not import uma.zone",
    ),
    (no_forbidden_imports, "packet/extpg.py", "from mbuf.pool import pool", "ask the Source"),
    (no_forbidden_imports, "net/capture/capture.py", "from mbuf.uma.stat import ZoneStat", "ask the pool"),
    (
        no_forbidden_imports,
        "net/capture/capture.py",
        "from mbuf.stats import netstat",
        "net.capture.capture may not import stats",
    ),
    (
        no_forbidden_imports,
        "stats/netstat.py",
        "from mbuf.net.capture import capture",
        "stats.netstat may not import net.capture.capture",
    ),
    (
        no_forbidden_imports,
        "stats/netstat.py",
        "from mbuf.pool.pool import Pool",
        "printers read only snapshots",
    ),
    (no_forbidden_imports, "__init__.py", "from mbuf.cli import main", "move what it needs below cli"),
    (raw_memory_stays_in_its_files, "uma/zone.py", "import mmap", "uma/zone.py uses mmap"),
    (
        raw_memory_stays_in_its_files,
        "packet/mbuf.pxd",
        "from libc.string cimport memcpy",
        "packet/mbuf.pxd uses memcpy",
    ),
    (
        raw_memory_stays_in_its_files,
        "net/capture/capture.py",
        "buffer: Py_buffer",
        "net/capture/capture.py uses Py_buffer",
    ),
    (raw_memory_stays_in_its_files, "uma/bucket.pxd", "from libc.string cimport memmove", None),
    (
        no_broad_except,
        "uma/zone.py",
        "try:\n    pass\nexcept Exception:\n    pass",
        "uma/zone.py:3 catches",
    ),
    (
        no_broad_except,
        "uma/zone.py",
        "try:\n    pass\nexcept (OSError, Exception):\n    pass",
        ":3 catches",
    ),
    (
        no_broad_except,
        "uma/zone.py",
        "try:\n    pass\nexcept:\n    raise",
        "uma/zone.py:3 catches",
    ),
    (no_broad_except, "vm/commit.py", '"""Hook."""\ntry:\n    pass\nexcept Exception:\n    pass', None),
    (no_broad_except, "net/capture/capture.py", "try:\n    pass\nexcept Exception:\n    raise", None),
    (modules_have_no_state, "uma/zone.py", "ZONES = []", "uma/zone.py:1 is mutable"),
    (modules_have_no_state, "uma/zone.py", "ZONES: dict[str, int] = dict()", "uma/zone.py:1 is mutable"),
    (modules_have_no_state, "uma/zone.py", "ZONES = {n: 0 for n in 'ab'}", "uma/zone.py:1 is mutable"),
    (
        modules_have_no_state,
        "uma/zone.py",
        "if True:\n    ZONES = collections.deque()",
        "uma/zone.py:2 is mutable",
    ),
    (modules_have_no_state, "uma/zone.py", "ZONES = dict.fromkeys('ab')", "uma/zone.py:1 is mutable"),
    (
        modules_have_no_state,
        "uma/zone.py",
        "def f():\n    global zone\n    zone = 1",
        "uma/zone.py:2 changes its module's zone",
    ),
    (modules_have_no_state, "uma/zone.py", "ZONES = tuple([1])\nNAMES = frozenset({1})", None),
    (files_are_short, "uma/zone.pxd", "\n" * 451, "uma/zone.pxd has 451 lines"),
    (files_are_short, "uma/zone.pxd", "\n" * 350, None),
    (files_are_short, "packet/mbuf.py", "\n" * 1400, None),
    (modules_have_docstrings, "uma/zone.py", "ZONES = ()", "uma/zone.py has no docstring"),
    (modules_have_docstrings, "uma/zone.py", '"""A\n' + "b\n" * 60 + '"""', "docstring has 61 lines"),
    (modules_have_docstrings, "uma/zone.py", '"""A\n' + "b\n" * 59 + '"""', None),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_valid_sources_break_no_rule(rule: Rule) -> None:
    assert not list(rule(Sources(VALID)))


@pytest.mark.parametrize(("rule", "path", "text", "error"), VIOLATIONS)
def test_each_violation_is_reported(rule: Rule, path: str, text: str, error: str | None) -> None:
    errors = list(rule(Sources(VALID | {path: text})))
    assert len(errors) == (error is not None)
    assert error is None or error in errors[0]
