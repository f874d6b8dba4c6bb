"""The bytes of a chain, read and written in place.

These functions treat a packet as one sequence of bytes, whatever its mbufs are. They never allocate an mbuf, and never
change a link or a length. Bytes that are returned as one object are copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.vm.page import Memory
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG
from mbuf.errors import Inval, ReadOnly
from mbuf.packet.chain import Chain
from mbuf.packet.unmapped import Unmapped
from mbuf.vm.ints import fold, swapped
from mbuf.vm.page import view_of
from mbuf.vm.scan import compare, compare_bytes, copy_out, search, sum16

if not cython.compiled:
    from mbuf.packet.chain import check_range, fingerprint, length, next_checked
    from mbuf.packet.header import ROUNDS, chain_changed
    from mbuf.packet.segment import check_alive, writable
    from mbuf.vm.scan import new_bytes, set_bytes

#: More views, and more bytes, than any chain has.
_ALL = 1 << 62

#: The result of a comparison that would have to read unmapped pages.
_UNMAPPED = 2

# Reading.


def views(m: Chain) -> list[memoryview]:
    """One memoryview for each mbuf that has data; of unmapped pages, for each piece of them."""
    check_alive(m)
    return views_of(m, _ALL, _ALL)


def views_of(m: Chain | None, count: int, size: int) -> list[memoryview]:
    """Return views of a chain's first bytes: at most `count`, of mbufs that begin before byte `size`."""
    found: list[memoryview] = []
    left = size
    n: Any = m
    while n is not None and left > 0 and len(found) < count:
        check_alive(n)
        left -= n.count
        if n.bits & M_EXTPG:
            found += pieces(n)
            # A part of an mbuf may be sent: what was sent is counted in bytes.
            del found[count:]
        elif n.count:
            found.append(view_of(n.buf, n.off, n.count, not writable(n)))
        # Making a view may start a garbage collection, which may run any code.
        check_alive(n)
        n = next_checked(n)
    return found


def pieces(m: Chain) -> list[memoryview]:
    """Return views of the data of an mbuf, which must have unmapped pages."""
    pages: Unmapped = cython.cast(Unmapped, m.buf)
    return pages.views(m.off, m.count)


def excerpt(m: Chain, verb: str, at: int, count: int, rest: bool) -> bytes:
    """Return a copy of `count` bytes from byte `at` of the packet on, or with `rest` of all that follow."""
    for _ in range(ROUNDS):
        check_range(m, verb, at, 0 if rest else count)
        size = length(m) - at if rest else count
        data: Any = _collect(m, at, size, False)
        if data is None:
            # Pages must be read, and perhaps mapped, which may run other code.
            mark = fingerprint(m)
            data = _collect(m, at, size, True)
            if fingerprint(m) != mark:
                continue
        found: bytes = data
        return found
    raise chain_changed(verb)


def _collect(m: Chain, at: int, size: int, map: bool) -> Any:
    """Return a copy of bytes that exist; without `map`, None if some of them are in unmapped pages."""
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
        raise chain_changed("copydata")
    return whole if cython.compiled else bytes(whole)


def copyinto(m: Chain, view: memoryview, at: int, size: int) -> int:
    """Copy the packet, from byte `at` on, to a writable view of `size` bytes; return how many were copied."""
    check_range(m, "copyinto", at, 0)
    count = left = min(length(m) - at, size)
    n: Any = m
    while left and n is not None:
        if at < n.count:
            piece = min(n.count - at, left)
            copy_out(n.buf, n.off + at, piece, view, count - left)
            # A page may have been mapped, which may run other code.
            check_alive(n)
            left -= piece
            at = 0
        else:
            at -= n.count
        n = n._next
    return count - left


def apply(m: Chain, at: int, left: int, fn: Callable[[memoryview], Any]) -> Any:
    """Call fn with a view of each piece of `left` bytes from byte `at` on; its first true result, or 0."""
    check_range(m, "apply", at, left)
    n: Any = m
    while at and at >= n.count:
        at -= n.count
        n = n._next
    while left:
        if n is None:
            raise Inval("apply: the packet became shorter during the call")
        # `fn` may have changed the packet.
        check_alive(n)
        count = min(n.count - at, left)
        if n.bits & M_EXTPG:
            buf: Memory = n.buf
            result = fn(memoryview(buf.read(n.off + at, count)))
        else:
            result = fn(view_of(n.buf, n.off + at, count, not writable(n)))
        if result:
            return result
        left -= count
        at = 0
        check_alive(n)
        n = next_checked(n)
    return 0


def getptr(m: Chain, at: int) -> tuple[Any, int]:
    """Return the mbuf with byte `at` of the packet, and the offset in its data."""
    check_range(m, "getptr", at, 0)
    n: Any = m
    while at >= n.count and n._next is not None:
        at -= n.count
        n = next_checked(n)
    return n, at


def byte_at(m: Chain, at: int) -> int:
    """Return byte `at` of the packet; a negative `at` counts from the end."""
    check_alive(m)
    if at < 0 or at >= m.count or m.bits & M_EXTPG:
        size = length(m)
        if at < 0:
            at += size
        if not 0 <= at < size:
            raise IndexError(f"byte {at if at >= 0 else at - size}: the packet has {size}")
        return excerpt(m, "getitem", at, 1, False)[0]
    buf: Memory = m.buf
    return buf.read(m.off + at, 1)[0]


# Comparing.


def order(m: Chain, verb: str, data: bytes, prefix: bool) -> int:
    """Return -1, 0 or 1: the packet comes before `data`, is equal, or comes after.

    With `prefix`, only as many bytes of the packet are compared as `data` has.
    """
    found = _order(m, data, prefix, False)
    if found != _UNMAPPED:
        return found
    # Pages must be read, and perhaps mapped, which may run other code.
    for _ in range(ROUNDS):
        mark = fingerprint(m)
        found = _order(m, data, prefix, True)
        if fingerprint(m) == mark:
            return found
    raise chain_changed(verb)


def _order(m: Chain, data: bytes, prefix: bool, map: bool) -> int:
    """`order`; without `map`, _UNMAPPED if bytes in unmapped pages must be compared."""
    size = len(data)
    done = 0
    n: Any = m
    while n is not None:
        check_alive(n)
        count = min(n.count, size - done)
        more = n.count > count
        if count:
            if n.bits & M_EXTPG and not map:
                return _UNMAPPED
            found = compare_bytes(n.buf, n.off, data, done, count)
            if found:
                return found
            done += count
        if prefix and done == size:
            return 0
        if more:
            return 1
        n = n._next
    return -1 if done < size else 0


def order_chains(m: Chain, verb: str, other: Chain) -> int:
    """`order` for two packets. Where the mbufs of each end makes no difference."""
    found = _order_chains(m, other)
    if found != _UNMAPPED:
        return found
    for _ in range(ROUNDS):
        mark = fingerprint(m)
        others = fingerprint(other)
        found = order(m, verb, excerpt(other, verb, 0, 0, True), False)
        if fingerprint(m) == mark and fingerprint(other) == others:
            return found
    raise chain_changed(verb)


def _order_chains(m: Chain, other: Chain) -> int:
    """`order_chains`, or _UNMAPPED if bytes in unmapped pages must be compared."""
    check_alive(m)
    check_alive(other)
    at = 0
    start = 0
    n: Any = m
    p: Any = other
    while True:
        while n is not None and at == n.count:
            n = next_checked(n)
            at = 0
        while p is not None and start == p.count:
            p = next_checked(p)
            start = 0
        if n is None:
            return 0 if p is None else -1
        if p is None:
            return 1
        if (n.bits | p.bits) & M_EXTPG:
            return _UNMAPPED
        count = min(n.count - at, p.count - start)
        found = compare(n.buf, n.off + at, p.buf, p.off + start, count)
        if found:
            return found
        at += count
        start += count


# Writing.


def rewrite(m: Chain, verb: str, at: int, data: bytes) -> None:
    """Write data over the bytes from `at` on, which must exist and be writable."""
    left = len(data)
    check_range(m, verb, at, left)
    _check_writable(m, verb, at, left)
    n: Any = m
    skip = 0
    while left:
        if at < n.count:
            count = min(n.count - at, left)
            buf: Memory = n.buf
            buf.write(n.off + at, data, skip, count)
            skip += count
            left -= count
            at = 0
        else:
            at -= n.count
        n = n._next


def _check_writable(m: Chain, verb: str, at: int, left: int) -> None:
    """Raise `ReadOnly` unless these bytes, which exist, may be written."""
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


# Checksums and searches.


def in_cksum(m: Chain, at: int, left: int) -> int:
    """Return the Internet checksum of `left` bytes from byte `at` on. See RFC 1071."""
    check_range(m, "in_cksum", at, left)
    sum = 0
    odd = 0
    n: Any = m
    while left and n is not None:
        if at < n.count:
            count = min(n.count - at, left)
            part = sum16(n.buf, n.off + at, count)
            # A page may have been mapped, which may run other code.
            check_alive(n)
            sum += swapped(part) if odd else part
            odd ^= count & 1
            left -= count
            at = 0
        else:
            at -= n.count
        n = n._next
    return ~fold(sum) & 0xFFFF


def _place(number: int, size: int) -> int:
    """Return a number as slices treat it: a negative one counts from the end, but no further than to the start."""
    return max(number + size, 0) if number < 0 else number


def find(m: Chain, sought: bytes, start: int, end: int) -> int:
    """Return the offset at which `sought` is first found from `start` to `end`, or -1. A match may span mbufs."""
    check_alive(m)
    size = length(m)
    first = at = _place(start, size)
    left = min(_place(end, size), size) - first
    if left < len(sought):
        return -1
    if not sought:
        return first
    matcher = search(sought)
    n: Any = m
    while left and n is not None:
        check_alive(n)
        if at < n.count:
            count = min(n.count - at, left)
            found = matcher.feed(n.buf, n.off + at, count)
            if found >= 0:
                return first + found
            left -= count
            at = 0
        else:
            at -= n.count
        n = n._next
    found = matcher.rest()
    return found if found < 0 else first + found


def rfind(m: Chain, sought: bytes, start: int, end: int) -> int:
    """Return the offset at which `sought` is last found from `start` to `end`, or -1."""
    check_alive(m)
    size = length(m)
    first = _place(start, size)
    left = min(_place(end, size), size) - first
    if left < len(sought):
        return -1
    # A chain leads forwards only.
    found = excerpt(m, "rfind", first, left, False).rfind(sought)
    return found if found < 0 else first + found
