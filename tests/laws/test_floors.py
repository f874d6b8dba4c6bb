"""The laws of the house that a program can check: floors, licences, raw memory, state and size."""

import ast
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from laws.house import House, floor_of, within, words

SRC = Path(__file__).parents[2] / "src"

# From the ground up; "" is the package itself, the names that a user may rely on.
FLOORS = (
    ("const", "errors", "fielddocs", "kinds", "shadow"),
    ("vm",),
    ("uma",),
    ("packet",),
    ("pool",),
    ("net", "stats", "testing"),
    ("http",),
    ("",),
    ("cli",),
)
CORE = ("vm", "uma", "packet", "pool")

# What knows that some mbufs have unmapped pages. The others work through what any memory can do.
UNMAPPED = ("extpg", "read", "pages", "record", "mapped", "mbuf")
# Those that may not know them.
MAPPED = (
    *("append", "build", "chain", "cluster", "copy", "defrag", "epg", "ext", "external", "header", "nofree", "pkthdr"),
    *("plan", "pullup", "queue", "segment", "segmentation", "sockbuf", "source", "splice", "streambuf", "tag", "trim"),
)

# Who may not import whom, though the floors would let it, and what to do instead.
FORBIDDEN = (
    *(
        (f"packet.{name}", "packet.unmapped", f"unmapped pages are known to {', '.join(UNMAPPED)} alone")
        for name in MAPPED
    ),
    ("packet", "uma.zone", "an item gives its zone as an ItemOwner"),
    ("packet", "pool", "ask the Source"),
    ("net", "uma", "ask the pool, which is the only one to read a zone"),
    ("net", "stats", "let the caller bring the two together"),
)
READ_BY_STATS = ("const", "errors", "fielddocs", "kinds", "stats", "uma.stat", "pool.stat")

POINTERS = (
    "vm/arena.*",
    "vm/page.*",
    "vm/buffer_export.*",
    "vm/scan.*",
    "vm/sfbuf.*",
    "uma/bucket.*",
    "net/udp/*mmsg.*",
)
RAW = {
    "memcpy": POINTERS,
    "memmove": POINTERS,
    "Py_buffer": POINTERS,
    "mmap": (*POINTERS, "net/capture/capture.py", "net/capture/pcap*.py"),
}

DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MAKERS = ("list", "dict", "set", "deque", "defaultdict", "OrderedDict", "Counter", "bytearray")

MOST_LINES = 450
#: Every method of a class that users hold is on one page.
FACADES = {"packet/mbuf.py": 1500, "pool/pool.py": 1500}
#: A hard module states its theory of operation.
MOST_DOCSTRING_LINES = 60
#: They hand what they catch to `sys.unraisablehook`.
CATCHERS = ("vm/commit.py", "vm/unraisable.py")


def height(module: str) -> int:
    """The number of a module's floor, or -1 where there is none."""
    return next((n for n, floor in enumerate(FLOORS) if floor_of(module) in floor), -1)


def core(house: House) -> Iterator[tuple[str, ast.Module]]:
    """The trees of the floors that must neither keep state nor swallow errors."""
    return ((path, tree) for path, tree in house.trees.items() if path.split("/")[0] in CORE)


def imports_go_down(house: House) -> Iterator[str]:
    for module in sorted(house.modules):
        if height(module) < 0:
            yield f"{module} stands on no floor: move it onto one of {FLOORS}"
    for module, target in house.pairs():
        if height(target) > height(module):
            yield f"{module} imports {target or 'mbuf'} from above: move it down, or use a door"


def imports_make_no_circle(house: House) -> Iterator[str]:
    """What only a type checker reads may point back: a door names what comes through it."""
    try:
        TopologicalSorter(house.loads).prepare()
    except CycleError as error:
        yield f"{' imports '.join(reversed(error.args[1]))}: split off what both need, or use a door"


def licences_are_kept(house: House) -> Iterator[str]:
    for module, target in house.pairs():
        for who, whom, instead in FORBIDDEN:
            if within(module, who) and within(target, whom):
                yield f"{module} may not import {target}: {instead}"
        if within(module, "stats") and not any(within(target, seen) for seen in READ_BY_STATS):
            yield f"{module} may not import {target}: printers see snapshots alone (uma.stat, pool.stat)"
        if within(target, "cli") and not within(module, "cli"):
            yield f"{module} may not import {target}: move what it needs below cli"


def raw_memory_has_an_address(house: House) -> Iterator[str]:
    for path, text in house.files.items():
        for word in sorted(words(path, text) & RAW.keys()):
            if not any(fnmatch(path, home) for home in RAW[word]):
                yield f"{path} uses {word}: call vm/page.py, or move the code to {' or '.join(RAW[word])}"


def nothing_catches_everything(house: House) -> Iterator[str]:
    for path, tree in core(house):
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = {"Exception"} if node.type is None else {ast.unparse(n) for n in ast.walk(node.type)}
                if "Exception" in caught and path not in CATCHERS:
                    yield f"{path}:{node.lineno} catches everything: name the errors that it can handle"


def modules_hold_no_state(house: House) -> Iterator[str]:
    for path, tree in core(house):
        for node in at_import(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and is_mutable(node.value):
                yield f"{path}:{node.lineno} is mutable: make it a tuple, frozenset or MappingProxyType"
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                yield f"{path}:{node.lineno} changes its module's {node.names[0]}: keep it in an instance"


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is imported, but for the bodies of its classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt) and not isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield child
            yield from at_import(child)
        elif isinstance(child, ast.ExceptHandler):
            yield from at_import(child)


def is_mutable(value: ast.expr | None) -> bool:
    """Whether an expression makes a container that can change."""
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).removesuffix(".fromkeys").split(".")[-1] in MAKERS
    return isinstance(value, DISPLAYS)


def files_are_short(house: House) -> Iterator[str]:
    for path, text in house.files.items():
        lines = len(text.splitlines())
        most = FACADES.get(path, MOST_LINES)
        if lines > most:
            yield f"{path} has {lines} lines, more than {most}: two ideas are hiding in it, split them"


def modules_state_their_law(house: House) -> Iterator[str]:
    for path, tree in house.trees.items():
        lines = len((ast.get_docstring(tree) or "").splitlines())
        if tree.body and not lines:
            yield f"{path} has no docstring: state what it is, what it may touch, what it never does"
        if lines > MOST_DOCSTRING_LINES:
            yield f"{path}'s docstring has {lines} lines: cut it to {MOST_DOCSTRING_LINES}"


Law = Callable[[House], Iterator[str]]
LAWS: tuple[Law, ...] = (
    imports_go_down,
    imports_make_no_circle,
    licences_are_kept,
    raw_memory_has_an_address,
    nothing_catches_everything,
    modules_hold_no_state,
    files_are_short,
    modules_state_their_law,
)


@pytest.fixture(scope="module")
def house() -> House:
    paths = sorted(path for suffix in ("py", "pxd") for path in SRC.glob(f"mbuf/**/*.{suffix}"))
    return House({path.relative_to(SRC / "mbuf").as_posix(): path.read_text("utf-8") for path in paths})


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_house_keeps_the_law_that(house: House, law: Law) -> None:
    complaints = list(law(house))
    assert not complaints, "\n".join(complaints)


LAWFUL = {
    "__init__.py": '"""Names."""\nfrom mbuf.pool.pool import Pool',
    "const.py": '"""Numbers."""\nKINDS = {}',
    "errors.py": "",
    "vm/__init__.py": "",
    "vm/page.py": '"""Bytes."""\nimport mmap\nfrom cython.cimports.libc.string import memcpy',
    "vm/page.pxd": "from libc.string cimport memcpy\ncdef int take() except? -1",
    "uma/zone.py": '"""Zones keep no mmap of theirs."""\nfrom mbuf.vm import page',
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

# (law, what is written into which file, what the complaint says)
BREACHES = [
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
    (imports_go_down, "pool/pool.py", "import mbuf", "pool.pool imports mbuf from above"),
    (imports_go_down, "pool/pool.py", "from mbuf import Pool", "pool.pool imports mbuf from above"),
    (imports_go_down, "helpers.py", "", "helpers stands on no floor"),
    (
        imports_make_no_circle,
        "packet/extpg.pxd",
        "from mbuf.packet cimport mbuf",
        "packet.extpg imports packet.mbuf",
    ),
    (
        imports_make_no_circle,
        "vm/page.py",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from mbuf.pool import pool\nfrom mbuf.uma import zone",
        "uma.zone imports vm.page",
    ),
    (
        imports_make_no_circle,
        "packet/extpg.py",
        "if TYPE_CHECKING:\n    from mbuf.packet.mbuf import Mbuf",
        None,
    ),
    (
        licences_are_kept,
        "packet/trim.py",
        "if TYPE_CHECKING:\n    from mbuf.packet.unmapped import Unmapped",
        "unmapped pages are known to",
    ),
    (imports_make_no_circle, "vm/__init__.py", "from . import page\n", None),
    (licences_are_kept, "packet/trim.py", "from . import unmapped", "unmapped pages are known to"),
    (
        licences_are_kept,
        "packet/extpg.py",
        "from mbuf.uma.zone import Zone",
        "packet.extpg may not import uma.zone",
    ),
    (licences_are_kept, "packet/extpg.py", "from mbuf.pool import pool", "ask the Source"),
    (licences_are_kept, "net/capture/capture.py", "from mbuf.uma.stat import ZoneStat", "ask the pool"),
    (
        licences_are_kept,
        "net/capture/capture.py",
        "from mbuf.stats import netstat",
        "net.capture.capture may not import stats",
    ),
    (
        licences_are_kept,
        "stats/netstat.py",
        "from mbuf.net.capture import capture",
        "stats.netstat may not import net.capture.capture",
    ),
    (
        licences_are_kept,
        "stats/netstat.py",
        "from mbuf.pool.pool import Pool",
        "printers see snapshots alone",
    ),
    (licences_are_kept, "__init__.py", "from mbuf.cli import main", "move what it needs below cli"),
    (raw_memory_has_an_address, "uma/zone.py", "import mmap", "uma/zone.py uses mmap"),
    (
        raw_memory_has_an_address,
        "packet/mbuf.pxd",
        "from libc.string cimport memcpy",
        "packet/mbuf.pxd uses memcpy",
    ),
    (raw_memory_has_an_address, "net/capture/capture.py", "buffer: Py_buffer", "net/capture/capture.py uses Py_buffer"),
    (raw_memory_has_an_address, "uma/bucket.pxd", "from libc.string cimport memmove", None),
    (
        nothing_catches_everything,
        "uma/zone.py",
        "try:\n    pass\nexcept Exception:\n    pass",
        "uma/zone.py:3 catches",
    ),
    (
        nothing_catches_everything,
        "uma/zone.py",
        "try:\n    pass\nexcept (OSError, Exception):\n    pass",
        ":3 catches",
    ),
    (
        nothing_catches_everything,
        "uma/zone.py",
        "try:\n    pass\nexcept:\n    raise",
        "uma/zone.py:3 catches",
    ),
    (nothing_catches_everything, "vm/commit.py", '"""Hook."""\ntry:\n    pass\nexcept Exception:\n    pass', None),
    (nothing_catches_everything, "net/capture/capture.py", "try:\n    pass\nexcept Exception:\n    raise", None),
    (modules_hold_no_state, "uma/zone.py", "ZONES = []", "uma/zone.py:1 is mutable"),
    (modules_hold_no_state, "uma/zone.py", "ZONES: dict[str, int] = dict()", "uma/zone.py:1 is mutable"),
    (modules_hold_no_state, "uma/zone.py", "ZONES = {n: 0 for n in 'ab'}", "uma/zone.py:1 is mutable"),
    (
        modules_hold_no_state,
        "uma/zone.py",
        "if True:\n    ZONES = collections.deque()",
        "uma/zone.py:2 is mutable",
    ),
    (modules_hold_no_state, "uma/zone.py", "ZONES = dict.fromkeys('ab')", "uma/zone.py:1 is mutable"),
    (
        modules_hold_no_state,
        "uma/zone.py",
        "def f():\n    global zone\n    zone = 1",
        "uma/zone.py:2 changes its module's zone",
    ),
    (modules_hold_no_state, "uma/zone.py", "ZONES = tuple([1])\nNAMES = frozenset({1})", None),
    (files_are_short, "uma/zone.pxd", "\n" * 451, "uma/zone.pxd has 451 lines"),
    (files_are_short, "uma/zone.pxd", "\n" * 350, None),
    (files_are_short, "packet/mbuf.py", "\n" * 1400, None),
    (modules_state_their_law, "uma/zone.py", "ZONES = ()", "uma/zone.py has no docstring"),
    (modules_state_their_law, "uma/zone.py", '"""A\n' + "b\n" * 60 + '"""', "docstring has 61 lines"),
    (modules_state_their_law, "uma/zone.py", '"""A\n' + "b\n" * 59 + '"""', None),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_lawful_house_hears_no_complaint(law: Law) -> None:
    assert not list(law(House(LAWFUL)))


@pytest.mark.parametrize(("law", "path", "text", "complaint"), BREACHES)
def test_each_breach_is_told(law: Law, path: str, text: str, complaint: str | None) -> None:
    complaints = list(law(House(LAWFUL | {path: text})))
    assert len(complaints) == (complaint is not None)
    assert complaint is None or complaint in complaints[0]
