"""Names of modules, classes, functions, methods and constants are those of the field, not metaphors.

`WORDS` lists names that must not be used in some folders, and what to use there instead. A name with `.py` is meant
for modules only, one in upper case for constants only. Otherwise upper case makes no difference, nor a leading
underscore, nor `test_` before the name of a module.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SRC, TESTS = ("src/mbuf",), ("tests",)
CORE = tuple(f"src/mbuf/{layer}" for layer in ("vm", "uma", "packet", "pool"))
POOL, PACKET, VM = ("src/mbuf/pool",), ("src/mbuf/packet",), ("src/mbuf/vm",)
NET, HTTP, CLI = ("src/mbuf/net",), ("src/mbuf/http",), ("src/mbuf/cli",)

#: Names, the folders where they must not be used, and the names to use there.
WORDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("loose loosen", SRC, "unmapped; nofree for the home of M_NOFREE mbufs"),
    ("dresser dress undress shed", SRC, "init, ctor, dtor, free"),
    ("handle", ("src/mbuf/packet", "src/mbuf/uma"), "wrap_item"),
    ("ask.py filled.py awaited.py paged.py", POOL, "validate, build, aio, extpg"),
    ("remarks names.py node.py vmuma", POOL, "tunable_checks, suggest, oid, sysctl_uma"),
    ("tally turn home mate spend tuck", CORE, "counters, async_waiter, ItemOwner, cluster, invalidate, push_below_top"),
    ("ring wring press", CORE, "on_limit, drain_caches, bypass_caches"),
    ("bell rung", SRC, "trigger, pending"),
    ("shape.py parts.py growth.py gather.py layout.py", PACKET, "trim, segmentation, append, pullup, defrag"),
    ("recipe portion cook stash", (*SRC, *TESTS), "plan, Step, execute, reserved; in tests arguments"),
    ("remains marks land take_in pour", CORE, "deferred_free, watermarks, from_rx, devget, fill"),
    ("routine", VM, "unraisable"),
    ("behead crown follow", SRC, "drop_pkthdr, init_pkthdr_like, next_checked"),
    ("tell told over lingers untake", PACKET, "describe, free_cb, released, deferred, unref"),
    ("loan number.py logged gauge", VM, "buffer_export, ints, log_errors, psi"),
    (
        "in_row spill watched look_away lend vanish",
        CORE,
        "is_contiguous, copy_scattered, has_views, release_view",
    ),
    ("talk answer tree.py ranges.py", HTTP, "connection, response, docroot, conditional"),
    ("arms armed intake around counted", NET, "posted receive buffers, read_sizer, wrapper, base"),
    ("lines.py outgoing share.py flow", NET, "txqueue, inflight, quota, pump"),
    ("words.py live.py tree.py sockets.py reader.py", CLI, "format, statusline, sysctl, sockbufs, consumer"),
    ("way", CLI, "RelayOptions"),
    ("HARD LATER", SRC, "FATAL, RETRY"),
    ("MOST LEAST FEW AGAIN", SRC, "MAX, MIN, BATCH_LOW, RETRY_DELAY"),
    ("keepers looks moves ways", TESTS, "queues, views, mutators, builders"),
    ("picture rows bridges", TESTS, "snapshot, cases, adapters"),
    ("house floor door licence tower", (*SRC, *TESTS, "bench"), "package, layer, interface, rule"),
    ("storm surface scene scarce meagre beset adorn", TESTS, "stress, members, scenario, faults, inject, fill_header"),
)


def names(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The names that a file defines, with their lines; the module itself is in line 0, with `.py`."""
    yield 0, Path(path).name.removeprefix("test_")
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from ((node.lineno, target.id) for target in targets if isinstance(target, ast.Name))


def replacement(path: str, name: str) -> str | None:
    """What to use instead of a name in a file; None if the name may be used there."""
    name = name.lstrip("_")
    forms = {name, name.lower(), name.lower().removesuffix(".py")}
    for words, folders, instead in WORDS:
        if forms & set(words.split()) and any(path.startswith(f"{folder}/") for folder in folders):
            return instead
    return None


def wrong_names(path: str, text: str) -> Iterator[str]:
    """A sentence for each name of a file that must not be used there."""
    for line, name in names(path, ast.parse(text, path)):
        instead = replacement(path, name)
        if instead is not None:
            yield f"{path}:{line}: don't use {name} here, but {instead}"


def test_names_are_terms_of_the_field() -> None:
    paths = [path for folder in ("src", "tests", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 400
    wrong = [line for path in paths for line in wrong_names(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("src/mbuf/vm/loan.py", "", 0),
        ("src/mbuf/pool/pool.py", "class Dresser:\n    pass", 1),
        ("src/mbuf/uma/zone.py", "class Zone:\n    def _wring(self):\n        pass", 2),
        ("src/mbuf/http/server.py", "MOST = 5", 1),
        ("tests/packet/test_picture.py", "", 0),
        ("tests/model/queues.py", "def f():\n    def looks():\n        pass", 2),
        ("src/mbuf/http/loan.py", "", None),
        ("src/mbuf/pool/sysctl.py", "def _node():\n    most = 5\n    return most", None),
        ("src/mbuf/errors.py", "class Again(Exception):\n    pass", None),
    ],
)
def test_a_wrong_name_is_reported(path: str, text: str, line: int | None) -> None:
    found = list(wrong_names(path, text))
    assert [int(sentence.split(":")[1]) for sentence in found] == ([] if line is None else [line])
