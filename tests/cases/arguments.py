"""Arguments whose conversion runs code of the caller: `__index__`, `__bool__`, `__len__`, `__iter__`, `__buffer__`."""

import io
import struct
from collections.abc import Callable
from typing import Any

from cases.harness import Context, case, chain, refused
from mbuf import M_EXT, M_EXTPG, M_NOWAIT, M_PKTHDR, Freed, Mbuf, MbufError, MbufQ, SockBuf, StreamBuffer


class Index:
    """A number that calls a function when it is converted."""

    def __init__(self, value: int, act: Callable[[], object]) -> None:
        self.value, self.act = value, act

    def __index__(self) -> int:
        act, self.act = self.act, lambda: None
        act()
        return self.value

    __int__ = __index__

    def __float__(self) -> float:
        return float(self.__index__())

    def __bool__(self) -> bool:
        return bool(self.__index__())


class WrongOperators(int):
    """An int whose operators return wrong values."""

    def __xor__(self, other: int) -> int:
        return 0

    __and__ = __or__ = __rxor__ = __rand__ = __ror__ = __sub__ = __rsub__ = __add__ = __radd__ = __xor__  # type: ignore[assignment]

    def __lt__(self, other: object) -> bool:
        return True

    def __gt__(self, other: object) -> bool:
        return False

    __le__ = __lt__
    __ge__ = __gt__

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


#: Verbs of a packet of 100 + 100 bytes with one number to convert.
NUMBERS: dict[str, Callable[[Mbuf, Any], object]] = {
    "adj": lambda m, n: m.adj(n),
    "align": lambda m, n: m.align(n),
    "chtype": lambda m, n: m.chtype(n),
    "collapse": lambda m, n: m.collapse(n),
    "copyback": lambda m, n: m.copyback(n, b"x" * 300),
    "copydata": lambda m, n: m.copydata(n, 150),
    "copydata_len": lambda m, n: m.copydata(1, n),
    "copyinto": lambda m, n: m.copyinto(bytearray(100), n),
    "copym": lambda m, n: m.copym(n, 150),
    "copym_how": lambda m, n: m.copym(0, 150, n),
    "copyup": lambda m, n: m.copyup(150, n),
    "fill": lambda m, n: m.fill(b"0123456789", n, 2),
    "find": lambda m, n: m.find(b"\0\0", n),
    "find_end": lambda m, n: m.find(b"\0\0", 0, n),
    "getitem": lambda m, n: m[n],
    "rfind": lambda m, n: m.rfind(b"\0\0", n),
    "fragment": lambda m, n: m.fragment(n),
    "getptr": lambda m, n: m.getptr(n),
    "grow": lambda m, n: m.grow(n),
    "hexdump": lambda m, n: m.hexdump(n, 100),
    "in_cksum": lambda m, n: m.in_cksum(n),
    "len": lambda m, n: setattr(m, "len", n),
    "makespace": lambda m, n: m.makespace(n, 20),
    "pack": lambda m, n: m.pack("!H", 0, n),
    "prepend": lambda m, n: m.prepend(n),
    "print": lambda m, n: m.print(n, io.StringIO()),
    "pulldown": lambda m, n: m.pulldown(n, 100),
    "pullup": lambda m, n: m.pullup(n),
    "segment": lambda m, n: m.segment(n),
    "split": lambda m, n: m.split(n),
    "tag_find": lambda m, n: m.tag_find(n),
    "unpack": lambda m, n: m.unpack("!H", n),
}


def tagged(context: Context) -> Mbuf:
    """A packet of two mbufs, with a tag."""
    m = chain(context.pool, 100, 100)
    m.tag_prepend(context.pool.tag_alloc(1, 2))
    return m


@case(each=NUMBERS.values(), names=NUMBERS)
def index_frees(context: Context, verb: Callable[[Mbuf, Any], object]) -> None:
    m = tagged(context)

    def act() -> None:
        m.freem()
        context.refill()

    refused(lambda: verb(m, Index(2, act)), MbufError, TypeError, IndexError)
    assert refused(lambda: bytes(m), Freed)
    context.check_others()


@case(each=NUMBERS.values(), names=NUMBERS)
def index_cuts(context: Context, verb: Callable[[Mbuf, Any], object]) -> None:
    m = tagged(context)

    def act() -> None:
        n = m.next
        m.next = None
        if n is not None:
            n.freem()
        m.fixhdr()
        context.refill()

    refused(lambda: verb(m, Index(2, act)), MbufError, TypeError, IndexError)
    context.check_others()


@case(each=NUMBERS.values(), names=NUMBERS)
def int_that_lies(context: Context, verb: Callable[[Mbuf, Any], object]) -> None:
    for value in (2, -1, 100, 2**31, 2**63, -(2**64)):
        m = tagged(context)
        refused(
            lambda m=m, value=value: verb(m, WrongOperators(value)),
            MbufError,
            TypeError,
            OverflowError,
            ValueError,
            IndexError,
            struct.error,
        )
        assert 0 <= m.len <= m.size
        assert sum(n.len for n in _mbufs(m)) == len(m)
        m.freem()
        context.check_others()


def _mbufs(m: Mbuf | None) -> list[Mbuf]:
    found = []
    while m is not None:
        found.append(m)
        m = m.next
    return found


@case(each=(M_EXT, M_EXTPG, M_PKTHDR, 1 << 31, -1, 0xFFFFFFFF), names=("ext", "extpg", "pkthdr", "sign", "all", "word"))
def flags_that_lie(context: Context, flags: int) -> None:
    m = context.pool.get()
    refused(lambda: setattr(m, "flags", WrongOperators(flags)), MbufError, TypeError, OverflowError)
    refused(lambda: m.refcnt, MbufError)
    assert m.ext is None
    assert not m.flags & (M_EXT | M_EXTPG | M_PKTHDR)
    m.append(b"x" * 100)
    assert bytes(m) == b"x" * 100
    m.free()
    assert refused(lambda: setattr(m, "flags", 0), Freed)


@case
def demote_flags_that_lie(context: Context) -> None:
    m = tagged(context)
    refused(lambda: m.demote(True, WrongOperators(M_EXT | M_PKTHDR)), MbufError, TypeError, OverflowError)
    assert len(m) == 200


@case
def truth_cuts(context: Context) -> None:
    pool = context.pool
    m = pool.gethdr().append(b"a" * 100)
    m.next = pool.getcl(flags=0).append(b"b" * 100)
    m.fixhdr()

    class Truth:
        def __bool__(self) -> bool:
            m.next = None
            context.refill()
            return False

    refused(lambda: m.pulldown(50, 100, Truth()), MbufError, TypeError)  # type: ignore[arg-type]
    assert bytes(m) == b"a" * 100


@case(each=("demote", "sanity", "append"))
def truth_frees(context: Context, verb: str) -> None:
    m = tagged(context)

    class Truth:
        def __bool__(self) -> bool:
            m.freem()
            context.refill()
            return True

    truth: Any = Truth()
    if verb == "append":
        refused(lambda: SockBuf().append(m, truth), MbufError, TypeError)
    else:
        refused(lambda: getattr(m, verb)(truth), MbufError, TypeError)


@case(each=("getm2", "clget", "getjcl", "cljget", "getcl_bulk", "get2", "frombytes", "devget"))
def pool_index_frees(context: Context, verb: str) -> None:
    pool = context.pool
    m = pool.gethdr()

    def act() -> None:
        m.free()
        context.refill()
        if verb == "getcl_bulk":
            pool.drain()

    n: Any = Index(M_NOWAIT, act)
    calls: dict[str, Callable[[], object]] = {
        "getm2": lambda: pool.getm2(3000, n, 1, 0, m),
        "clget": lambda: pool.clget(m, n),
        "getjcl": lambda: pool.getjcl(n),
        "cljget": lambda: pool.cljget(m, n),
        "getcl_bulk": lambda: pool.getcl_bulk(5, n),
        "get2": lambda: pool.get2(n),
        "frombytes": lambda: pool.frombytes(b"x" * 5000, n),
        "devget": lambda: pool.devget(b"x" * 5000, n),
    }
    refused(calls[verb], MbufError, TypeError)
    context.check_others()


@case
def iteration_frees(context: Context) -> None:
    """free_bulk of a list whose iteration frees its packets and changes it."""
    pool = context.pool

    class Odd(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            while self:
                self.pop().freem()
            context.refill()
            return iter([])

        def __len__(self) -> int:
            return 7

    refused(lambda: pool.free_bulk(Odd(pool.getcl() for _ in range(20))), MbufError, TypeError, IndexError)


@case
def queue_index(context: Context) -> None:
    q = MbufQ(0)
    refused(lambda: setattr(q, "maxlen", WrongOperators(-1)), MbufError, TypeError, AttributeError)
    q.enqueue(context.pool.getcl())
    q.drain()


@case(each=("take", "drop", "peek", "find"))
def stream_index_clears(context: Context, verb: str) -> None:
    buffer = StreamBuffer()
    for _ in range(5):
        buffer.append(context.pool.getcl().append(b"line\n" * 200))

    def act() -> None:
        buffer.clear()
        context.refill()

    n: Any = Index(1500, act)
    refused(lambda: buffer.find(b"\n", n) if verb == "find" else getattr(buffer, verb)(n), MbufError, TypeError)
    buffer.clear()


BUFFERS: dict[str, Callable[[Mbuf, Any], object]] = {
    "append": lambda m, data: m.append(data),
    "copyback": lambda m, data: m.copyback(150, data),
    "copyinto": lambda m, data: m.copyinto(data, 0),
    "extadd": lambda m, data: m.extadd(data),
    "fill": lambda m, data: m.fill(data, 0, 5),
    "find": lambda m, data: m.find(data),
    "rfind": lambda m, data: m.rfind(data),
    "startswith": lambda m, data: m.startswith(data),
    "equals": lambda m, data: m.equals(data),
    "cmp": lambda m, data: m.cmp(data),
    "eq": lambda m, data: m == data,
    "contains": lambda m, data: data in m,
}


@case(each=BUFFERS.values(), names=BUFFERS)
def buffer_frees(context: Context, verb: Callable[[Mbuf, Any], object]) -> None:
    m = tagged(context)

    class Buffer:
        def __buffer__(self, flags: int) -> memoryview:
            if "freed" not in repr(m):
                m.freem()
                context.refill()
            return memoryview(bytearray(b"HACKED" * 10))

    refused(lambda: verb(m, Buffer()), MbufError, TypeError)
    context.check_others()


@case(each=BUFFERS.values(), names=BUFFERS)
def release_of_a_buffer_frees(context: Context, verb: Callable[[Mbuf, Any], object]) -> None:
    m = tagged(context)

    class Buffer:
        def __buffer__(self, flags: int) -> memoryview:
            return memoryview(bytearray(b"HACKED" * 10))

        def __release_buffer__(self, view: memoryview) -> None:
            if "freed" not in repr(m):
                m.freem()
                context.refill()

    refused(lambda: verb(m, Buffer()), MbufError, TypeError)
    context.check_others()


@case(each=("copyback", "append", "copyinto", "fill", "find"))
def refused_buffer_changes_nothing(context: Context, verb: str) -> None:
    """A buffer that isn't contiguous is refused before anything has changed."""
    m = context.pool.getcl()
    odd = memoryview(bytes(10))[::2]
    arguments: dict[str, tuple[Any, ...]] = {"copyback": (0, odd), "fill": (odd, 0, 2)}
    error = refused(
        lambda: getattr(m, verb)(*arguments.get(verb, (odd,))), BufferError, TypeError, MbufError, ValueError
    )
    if verb in ("copyback",):
        assert error is not None or bytes(m) == bytes(5)
    if error is not None:
        assert (len(m), m.pkthdr.len, m.len, m.next) == (0, 0, 0, None)


@case
def format_that_frees(context: Context) -> None:
    m = tagged(context)

    class Value:
        def __index__(self) -> int:
            m.freem()
            context.refill()
            return 7

    refused(lambda: m.pack("!H", 0, Value()), MbufError, TypeError)
    context.check_others()


@case
def file_that_frees(context: Context) -> None:
    m = tagged(context)

    class File(io.StringIO):
        def write(self, text: str) -> int:
            if "freed" not in repr(m):
                m.freem()
                context.refill()
            return len(text)

    refused(lambda: m.print(-1, File()), MbufError)
    context.check_others()
