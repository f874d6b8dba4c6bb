"""Very many mbufs, each of which refers to the next: dropping or freeing the first doesn't recurse."""

from collections.abc import Callable

from cases.harness import Context, case
from mbuf import EXT_NET_DRV, Mbuf, Pool, Vm, compiled

#: Too many for recursion on a C stack of 8 MiB: uncompiled, each level takes a frame of at least 300 bytes.
DEEP = 300_000 if compiled() else 30_000

LINKS: dict[str, Callable[[Pool, Mbuf, Mbuf | None], object]] = {
    "next": lambda pool, m, held: setattr(m, "next", held),
    "nextpkt": lambda pool, m, held: setattr(m, "nextpkt", held),
    "rcvif": lambda pool, m, held: setattr(m.pkthdr, "rcvif", held),
    "tag": lambda pool, m, held: m.tag_prepend(pool.tag_alloc(1, 2, held)),
    "tag_tuple": lambda pool, m, held: m.tag_prepend(pool.tag_alloc(1, 2, (held,))),
    "arg1": lambda pool, m, held: m.extadd(bytearray(10), None, held, None, 0, EXT_NET_DRV),
    "arg2": lambda pool, m, held: m.extadd(bytearray(10), None, None, held, 0, EXT_NET_DRV),
    "lent": lambda pool, m, held: m.extadd(
        bytearray(10) if held is None else _holder(held), None, None, None, 0, EXT_NET_DRV
    ),
}


class _Holder(bytearray):
    """External memory that refers to an mbuf."""

    held: Mbuf


def _holder(held: Mbuf) -> _Holder:
    lent = _Holder(10)
    lent.held = held
    return lent


def _deep(kinds: list[str], count: int) -> tuple[Pool, Mbuf]:
    pool = Pool(Vm(1 << 30), {"kern.ipc.nmbufs": 2 * DEEP}, worker=False, strict=False)
    m = pool.gethdr()
    for i in range(count):
        n = pool.gethdr()
        LINKS[kinds[i % len(kinds)]](pool, n, m)
        m = n
    return pool, m


def _over(pool: Pool) -> None:
    assert pool.out == 0
    assert pool.tags.count == 0
    assert pool.close() == 0
    assert pool.vm.used == 0


def _count(kind: str) -> int:
    # A chain of Python objects can be as long as Python itself can free.
    return DEEP if kind in ("next", "nextpkt", "rcvif", "tag") else DEEP // 3


@case(each=LINKS)
def dropped(context: Context, kind: str) -> None:
    pool, m = _deep([kind], _count(kind))
    del m
    _over(pool)


@case(each=("next", "nextpkt", "rcvif", "tag", "arg1", "lent"))
def freed(context: Context, kind: str) -> None:
    pool, m = _deep([kind], _count(kind))
    if kind == "nextpkt":
        while (n := m.nextpkt) is not None:
            m.freem()
            m = n
    m.freem()
    m = None  # type: ignore[assignment]
    _over(pool)


@case(each=("mixed", "headers"))
def dropped_in_a_mixture(context: Context, kind: str) -> None:
    pool, m = _deep(list(LINKS) if kind == "mixed" else ["rcvif", "tag", "next", "nextpkt"], DEEP // 3)
    del m
    _over(pool)


@case
def view_of_the_first(context: Context) -> None:
    """A view keeps the first storage; the rest is freed, and then the first."""
    pool, m = _deep(["next"], DEEP)
    m.len = 4
    m.pack("4s", 0, b"seen")
    view = m.data
    m = None  # type: ignore[assignment]
    assert bytes(view) == b"seen"
    view.release()
    del view
    _over(pool)


@case(
    each=(
        "length",
        "len",
        "bytes",
        "copym",
        "dup",
        "adj",
        "defrag",
        "split",
        "in_cksum",
        "iter",
        "equal",
        "sanity",
        "print",
    )
)
def walked(context: Context, verb: str) -> None:
    """Verbs on a long chain don't recurse."""
    pool, m = _deep(["next"], DEEP // 3)
    m.last().append(b"x" * 20)
    m.fixhdr()
    calls: dict[str, Callable[[], object]] = {
        "length": m.length,
        "len": lambda: len(m),
        "bytes": lambda: bytes(m),
        "copym": lambda: m.copym().freem(),  # type: ignore[union-attr]
        "dup": lambda: m.dup().freem(),
        "adj": lambda: m.adj(-1),
        "defrag": m.defrag,
        "split": lambda: m.split(10).freem(),  # type: ignore[union-attr]
        "in_cksum": m.in_cksum,
        "iter": lambda: list(m),
        "equal": lambda: m == bytes(m),
        "sanity": lambda: m.sanity(True),
        "print": lambda: m.hexdump(0, 10),
    }
    calls[verb]()
    m.freem()
    calls.clear()
    m = None  # type: ignore[assignment]
    _over(pool)
