"""The reference pages list every public name, and the statements of docs/verbs.toml are true."""

import asyncio
import re
import sys
import tomllib
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import mbuf
import mbuf.net
from chains import mbufs
from faults import FaultInjector
from mbuf import Inval, Mbuf, NoBufs, Pool, compiled
from packet.snapshot import snapshot
from packet.verbs import ARGUMENTS, packet, public, resolved

DOCS = Path(__file__).parents[2] / "docs"
SRC = DOCS.parent / "src"
sys.path.append(str(DOCS / "extensions"))
reference, findable = import_module("public"), import_module("findable")
sys.path.pop()

uncompiled = pytest.mark.skipif(compiled(), reason="the reference is read from uncompiled classes")

#: Modules that other modules of the package use; users get what is public of them from those.
INTERNAL = {
    *(f"mbuf.http.{name}" for name in ("conditional", "connection", "docroot", "response")),
    *(f"mbuf.net.{name}" for name in ("linux", "sockets", "watch", "writable", "port.rules", "link.interface")),
    *(
        f"mbuf.net.{name}"
        for name in (
            "aio.sendqueue",
            "aio.starttls",
            "capture.pcap",
            "capture.pcapng",
            "stream.read_sizer",
            "stream.send",
            "relay.pump",
        )
    ),
    *(
        f"mbuf.net.aio.{name}"
        for name in (
            "addresses",
            "connection",
            "delivery",
            "dgramreader",
            "inbox",
            "lookup",
            "outbox",
            "refused",
            "streamreceiver",
            "wakeup",
        )
    ),
    *(f"mbuf.net.pacing.{name}" for name in ("inflight", "maxpacing", "txqueue")),
    "mbuf.stats.metrics",
    *(f"mbuf.net.udp.{name}" for name in ("mmsgport", "receiver", "receivecounts", "copies", "owned", "posted")),
    *(f"mbuf.net.udp.{name}" for name in ("recvmmsg", "sender", "sendmmsg")),
}

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


@uncompiled
def test_every_public_name_is_on_a_page() -> None:
    described = {name.rpartition(".")[2] for name in reference.listed()}
    described |= set(re.findall(r"^(\w+) = .*  #: \S", (SRC / "mbuf/const.py").read_text("utf-8"), re.MULTILINE))
    names = {*mbuf.__all__, *getattr(mbuf.net, "__all__", ())} - {"tunables", "PROBES"}
    assert sorted(names - described) == [], (
        "list these on a page in docs/reference; a constant needs a comment in const.py"
    )


@uncompiled
def test_every_module_for_users_is_on_a_page() -> None:
    described = {reference.find(name).__module__ for name in reference.listed() if callable(reference.find(name))}
    paths = [path for part in ("net", "http", "stats") for path in (SRC / "mbuf" / part).rglob("*.py")]
    modules = {".".join(path.relative_to(SRC).with_suffix("").parts) for path in paths if path.name != "__init__.py"}
    missing = sorted(modules - described - INTERNAL)
    assert missing == [], "list what they have on a page in docs/reference, or them in INTERNAL here"


@uncompiled
def test_what_a_method_returns_is_on_a_page() -> None:
    """Every class of the package in a signature of what is on the pages, except those of arguments."""
    described = {name.rpartition(".")[2] for name in reference.listed()}
    paths = (path.read_text("utf-8") for path in (SRC / "mbuf").rglob("*.py"))
    # Python has a Mapping, too.
    classes = {name for text in paths for name in re.findall(r"^class (\w+)", text, re.MULTILINE)} - {"Mapping"}
    returned: dict[str, str] = {}
    for name in sorted(reference.listed()):
        for word in re.findall(r"\w+", " ".join(results(reference.find(name)))):
            returned[word] = name
    unknown = {word: name for word, name in returned.items() if word in classes - described}
    assert unknown == {}, "list these classes on a page in docs/reference"


def results(thing: Any) -> list[str]:
    """What a function returns, or what the methods of a class return, as written."""
    if not isinstance(thing, type):
        return [str(getattr(thing, "__annotations__", {}).get("return", ""))]
    members = [getattr(thing, name, None) for name in reference.members(thing)]
    functions = [member.fget if isinstance(member, property) else member for member in members]
    return [str(getattr(fn, "__annotations__", {}).get("return", "")) for fn in functions]


@uncompiled
def test_every_name_on_a_page_has_a_description() -> None:
    assert list(reference.undocumented()) == [], "write a docstring, or a comment (#:) above the field"


@uncompiled
def test_every_group_of_methods_is_on_one_page() -> None:
    titles = [title for text in reference.pages().values() for title in reference.groups(text)]
    assert sorted(titles) == sorted(group["title"] for group in GROUPS)


def test_every_method_of_an_mbuf_is_in_one_group() -> None:
    listed = [name for group in OF_MBUF for name in (*group["plain"], *group["asks"])]
    assert sorted(listed) == sorted(name for name in public() if callable(getattr(Mbuf, name)))


def test_every_term_that_newcomers_look_for_is_in_the_glossary() -> None:
    glossary = (DOCS / "glossary.md").read_text("utf-8")
    assert set(findable.TERMS) <= set(re.findall(r"^[\w-]+(?: [\w-]+)*$", glossary, re.MULTILINE))


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
