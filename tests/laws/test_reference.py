"""docs/reference.md lists every public method, and its statements about memory, copies and errors are true."""

import asyncio
import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import mbuf
from chains import mbufs
from faults import FaultInjector
from mbuf import Inval, Mbuf, NoBufs, Pool, compiled
from packet.snapshot import snapshot
from packet.verbs import ARGUMENTS, packet, public, resolved

DOCS = Path(__file__).parents[2] / "docs"
GROUPS: list[dict[str, Any]] = tomllib.loads((DOCS / "verbs.toml").read_text("utf-8"))["group"]
OF_MBUF = [group for group in GROUPS if group["of"] == "Mbuf"]
PLAIN = sorted(name for group in OF_MBUF for name in group["plain"])
PAGED = {name for group in OF_MBUF if group["title"] == "Unmapped pages" for name in (*group["plain"], *group["asks"])}
#: These tests refuse mbufs and tags; tests/packet/test_extpg.py refuses windows and pages.
ASKS = sorted({name for group in OF_MBUF for name in group["asks"]} - {"page", "addpages"})
SHARES = {name for group in OF_MBUF for name in group["shares"]}

#: Arguments for verbs that don't allocate with the usual ones.
ALLOCATING_ARGUMENTS = {"pullup": (168,), "pulldown": (50, 200)}

#: Arguments of verbs that are called on a chain of unmapped pages here.
UNMAPPED: dict[str, tuple[Any, ...]] = {"unmapped_to_ext": ()}

#: Arguments of a pool's methods.
REQUESTS: dict[str, tuple[Any, ...]] = {
    "get2": (100,),
    "getm2": (100,),
    "getcl_bulk": (1,),
    "getjcl_bulk": (1,),
    "get_row": (1,),
    "cljget": (None,),
    "frombytes": (b"x",),
    "devget": (b"x",),
    "wrap": (b"x",),
    "agetm2": (100,),
    "alloc_ext_plus_pages": (100,),
    "tag_alloc": (1, 2),
    "tag_get": (1,),
}


def test_the_page_is_what_make_docs_writes() -> None:
    """The pure leg has the signatures."""
    source = DOCS.parent / "src"
    command = [sys.executable, str(DOCS / "reference.py")]
    done = subprocess.run(command, env={"PYTHONPATH": str(source)}, capture_output=True, check=True)
    assert done.stdout.decode() == (DOCS / "reference.md").read_text("utf-8"), "run make docs"


def test_every_verb_is_on_the_page_once() -> None:
    listed = [name for group in OF_MBUF for name in (*group["plain"], *group["asks"])]
    assert sorted(listed) == sorted(name for name in public() if callable(getattr(Mbuf, name)))


@pytest.mark.parametrize(("cls", "owner"), [(Mbuf, "m"), (Pool, "pool")])
def test_every_public_name_is_on_the_page_and_has_a_docstring(cls: type, owner: str) -> None:
    text = (DOCS / "reference.md").read_text("utf-8")
    names = public() if cls is Mbuf else [name for name in dir(Pool) if not name.startswith("_")]
    title = {"m": "An mbuf", "pool": "The pool"}[owner]
    section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    for name in names:
        assert getattr(cls, name).__doc__, name
        if callable(getattr(cls, name)):
            assert text.count(f"\n### {owner}.{name}\n") == 1, name
        else:
            assert section.count(f"\n| `{name}` | ") == 1, name


def test_every_name_on_the_page_has_a_description() -> None:
    text = (DOCS / "reference.md").read_text("utf-8")
    assert not re.search(r"\| `\w+` \|\s*\|\n", text)
    assert not re.search(r"```\n\n\n", text)


@pytest.mark.skipif(not compiled(), reason="uncompiled, an mbuf has slots that are not for users")
def test_dir_of_an_mbuf_and_of_a_pool_is_the_public_names() -> None:
    with Pool(worker=False) as pool, pool.get() as m:
        assert [name for name in dir(m) if not name.startswith("_")] == public()
        assert [name for name in dir(pool) if not name.startswith("_")] == [
            name for name in dir(Pool) if not name.startswith("_")
        ]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["title"])
def test_every_verb_of_a_group_exists_and_has_a_docstring(group: dict[str, Any]) -> None:
    names = [*group["plain"], *group["asks"]]
    assert set(group["copies"]) | set(group["shares"]) <= set(names)
    for name in names:
        assert getattr(getattr(mbuf, group["of"]), name).__doc__


def unmapped(pool: Pool) -> Mbuf:
    """Bytes in two unmapped pages."""
    m = pool.alloc_ext_plus_pages(5000)
    m.epg.last_len = 904
    m.len = 5000
    return m


@pytest.mark.parametrize("name", PLAIN)
def test_a_verb_that_needs_no_memory_works_without(pool: Pool, name: str) -> None:
    chains, faults = packet(pool), FaultInjector(pool)
    rest = chains[0].next
    with resolved(pool, name, chains[0]) as arguments, faults.failing(1, True), suppress(BufferError, Inval):
        # Some raise an error for this packet, but not for lack of memory.
        getattr(chains[0], name)(*arguments)
    assert faults.refusals == 0
    for m in (*chains, rest):
        if m is not None and "freed" not in repr(m):
            m.freem()


@pytest.mark.parametrize("name", ASKS)
def test_a_verb_that_needs_memory_fails_without_and_changes_nothing(pool: Pool, name: str) -> None:
    chains, faults = [unmapped(pool)] if name in UNMAPPED else packet(pool), FaultInjector(pool)
    with resolved(pool, name, chains[0]) as usual:
        arguments = (ALLOCATING_ARGUMENTS | UNMAPPED).get(name, tuple(usual))
        others = [thing for thing in usual if isinstance(thing, Mbuf)]
        before = snapshot(pool, *chains, *others)
        with faults.failing(1, True), pytest.raises(NoBufs):
            getattr(chains[0], name)(*arguments)
        assert snapshot(pool, *chains, *others) == before
    pool.free_bulk(chains)


@pytest.mark.parametrize("name", sorted(ARGUMENTS.keys() - PAGED - {"free", "freem", "detach"}))
def test_a_verb_shares_storage_only_if_the_page_says_so(pool: Pool, name: str) -> None:
    chains = packet(pool)
    with resolved(pool, name, chains[0]) as arguments:
        result = None
        with suppress(BufferError):
            result = getattr(chains[0], name)(*arguments)
        others = [thing for thing in arguments if isinstance(thing, Mbuf) and "freed" not in repr(thing)]
        results = result if isinstance(result, list) else [result]
        made = [n for n in results if isinstance(n, Mbuf) and n not in mbufs(chains[0])]
        users = [n.ext.count for m in (*chains, *others, *made) for n in mbufs(m) if n.ext]
        # Two chains share two clusters at the beginning, so each has two users.
        more = max(users) > 2 or (name == "dupcl" and users.count(2) == 6)
        assert more == (name in SHARES)
        pool.free_bulk([m for m in made if m not in others])
    pool.free_bulk([m for m in chains if "freed" not in repr(m)])


def done(result: Any) -> None:
    """Run a coroutine to its end; do nothing with other results."""
    if asyncio.iscoroutine(result):
        asyncio.run(result)


@pytest.mark.parametrize("name", sorted(name for group in GROUPS if group["of"] == "Pool" for name in group["asks"]))
def test_without_memory_a_pool_raises_no_bufs(pool: Pool, name: str) -> None:
    faults = FaultInjector(pool)
    m = pool.get()
    before = snapshot(pool, m)
    arguments = (m,) if name == "clget" else REQUESTS.get(name, ())
    with faults.failing(1, True), pytest.raises(NoBufs):
        done(getattr(pool, name)(*arguments))
    assert snapshot(pool, m) == before
    m.free()
