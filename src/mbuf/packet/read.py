"""The bytes of a chain, read and written where they are.

Sees a packet as one row of bytes, however its mbufs cut it. Never allocates an mbuf, never changes a link
or a length. Bytes of several mbufs are copied together where somebody asks for them in one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG
from mbuf.errors import Inval, ReadOnly
from mbuf.packet.chain import Chain
from mbuf.packet.unmapped import Unmapped
from mbuf.vm.ints import fold, swapped
from mbuf.vm.page import pane
from mbuf.vm.scan import pour, search, total

if not cython.compiled:
    from mbuf.packet.chain import fingerprint, length, next_checked, span
    from mbuf.packet.header import ROUNDS, changing
    from mbuf.packet.segment import check_alive, writable
    from mbuf.vm.scan import new_bytes, set_bytes

# Out.


def views(m: Chain) -> list[memoryview]:
    """One memoryview for each mbuf that has data; of unmapped pages, for each piece of them."""
    found: list[memoryview] = []
    check_alive(m)
    n: Any = m
    while n is not None:
        if n.bits & M_EXTPG:
            found += pieces(n)
        elif n.count:
            found.append(pane(n.buf, n.off, n.count, not writable(n)))
        # Making a view may start a collection, after which nothing is sure.
        check_alive(n)
        n = next_checked(n)
    return found


def pieces(m: Chain) -> list[memoryview]:
    """Views of the bytes of unmapped pages, of an mbuf known to have some."""
    pages: Unmapped = cython.cast(Unmapped, m.buf)
    return pages.views(m.off, m.count)


def excerpt(m: Chain, verb: str, at: int, count: int, rest: bool) -> bytes:
    """A copy of `count` bytes from byte `at` of the packet on, or of all the rest."""
    for _ in range(ROUNDS):
        span(m, verb, at, 0 if rest else count)
        size = length(m) - at if rest else count
        data: Any = _collect(m, at, size, False)
        if data is None:
            # A page of a file may have to be mapped, and then others may come in.
            mark = fingerprint(m)
            data = _collect(m, at, size, True)
            if fingerprint(m) != mark:
                continue
        found: bytes = data
        return found
    raise changing(verb)


def _collect(m: Chain, at: int, size: int, map: bool) -> Any:
    """A copy of bytes that are there; unless pages may be mapped, None where some are in unmapped ones."""
    whole: Any = new_bytes(size)
    done = 0
    n: Any = m
    while done < size and n is not None:
        if at < n.count:
            if n.bits & M_EXTPG and not map:
                return None
            count = min(n.count - at, size - done)
            set_bytes(whole, done, n.buf, n.off + at, count)
            done += count
            at = 0
        else:
            at -= n.count
        n = n._next
    if done < size:
        raise changing("copydata")
    return whole if cython.compiled else bytes(whole)


def copyinto(m: Chain, view: memoryview, at: int, size: int) -> int:
    """Copy the packet, from byte `at` on, into a writable view of `size` bytes; how many bytes went."""
    span(m, "copyinto", at, 0)
    count = left = min(length(m) - at, size)
    n: Any = m
    while left and n is not None:
        if at < n.count:
            piece = min(n.count - at, left)
            pour(n.buf, n.off + at, piece, view, count - left)
            left -= piece
            at = 0
        else:
            at -= n.count
        n = n._next
    return count - left


def apply(m: Chain, at: int, left: int, fn: Callable[[memoryview], Any]) -> Any:
    """Call fn with a view of each piece of `left` bytes from byte `at` on; its first true result, or 0."""
    span(m, "apply", at, left)
    n: Any = m
    while at and at >= n.count:
        at -= n.count
        n = n._next
    while left:
        if n is None:
            raise Inval("apply: the packet became shorter while it was looked at")
        # What fn did to the packet can't be known.
        check_alive(n)
        count = min(n.count - at, left)
        if count < 0:
            raise Inval("apply: the packet became shorter while it was looked at")
        if n.bits & M_EXTPG:
            result = fn(memoryview(n.buf.read(n.off + at, count)))
        else:
            result = fn(pane(n.buf, n.off + at, count, not writable(n)))
        if result:
            return result
        left -= count
        at = 0
        check_alive(n)
        n = next_checked(n)
    return 0


def getptr(m: Chain, at: int) -> tuple[Any, int]:
    """The mbuf with byte `at` of the packet, and where in its data that is."""
    span(m, "getptr", at, 0)
    n: Any = m
    while at >= n.count and n._next is not None:
        at -= n.count
        n = next_checked(n)
    return n, at


# In.


def rewrite(m: Chain, verb: str, at: int, data: bytes) -> None:
    """Write over the bytes from `at` on; they must all be there, and writable."""
    left = len(data)
    span(m, verb, at, left)
    _check_writable(m, verb, at, left)
    n: Any = m
    skip = 0
    while left:
        if at < n.count:
            count = min(n.count - at, left)
            n.buf.write(n.off + at, data, skip, count)
            skip += count
            left -= count
            at = 0
        else:
            at -= n.count
        n = n._next


def _check_writable(m: Chain, verb: str, at: int, left: int) -> None:
    """Raise `ReadOnly` unless these bytes, which are there, may be written."""
    n: Any = m
    while left:
        if at < n.count:
            if not writable(n):
                raise ReadOnly(f"{verb}: these bytes are shared or read-only: write to a copy, m.dup()")
            left -= min(n.count - at, left)
            at = 0
        else:
            at -= n.count
        n = n._next


# Looked through.


def in_cksum(m: Chain, at: int, left: int) -> int:
    """The Internet checksum of `left` bytes from byte `at` on."""
    span(m, "in_cksum", at, left)
    sum = 0
    odd = 0
    n: Any = m
    while left and n is not None:
        if at < n.count:
            count = min(n.count - at, left)
            part = total(n.buf, n.off + at, count)
            sum += swapped(part) if odd else part
            odd ^= count & 1
            left -= count
            at = 0
        else:
            at -= n.count
        n = n._next
    return ~fold(sum) & 0xFFFF


def find(m: Chain, sought: bytes, first: int) -> int:
    """Where some bytes are first found from byte `first` on, or -1. They may lie across mbufs."""
    at = first
    span(m, "find", at, 0)
    if not sought:
        return first
    looking = search(sought)
    n: Any = m
    while n is not None:
        check_alive(n)
        if at < n.count:
            found = looking.feed(n.buf, n.off + at, n.count - at)
            if found >= 0:
                return first + found
            at = 0
        else:
            at -= n.count
        n = n._next
    found = looking.rest()
    return found if found < 0 else first + found
