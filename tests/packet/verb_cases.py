"""Cases of verbs: the call, and the bytes of the chain afterwards. Each case is checked on every layout of a chain."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest

from chains import mbufs, sample
from mbuf import M_NOWAIT, M_PKTHDR, MT_DATA, Inval, Mbuf, Pool, ReadOnly
from packet.layouts import LAYOUTS, UNMAPPED
from packet.one_byte_mbufs import SUFFIX, one_byte_mbufs
from packet.snapshot import fill_header, header_state, snapshot

Change = Callable[[bytes], bytes]
Keywords = dict[str, Any]

#: The number of bytes of a chain: for one mbuf, for several, and too many for a cluster.
SIZES = (24, 300, 3000)
#: Every layout in every size; `tiny` only with few bytes.
ALL_LAYOUTS = [(layout, size) for layout in LAYOUTS for size in SIZES if layout != "tiny" or size < 300]
#: Every layout with few bytes, each byte in an mbuf of its own.
ONE_BYTE_LAYOUTS = [(layout + SUFFIX, SIZES[0]) for layout in LAYOUTS if layout != "tiny"]


def unchanged(data: bytes) -> bytes:
    return data


class VerbCase(NamedTuple):
    """One call of one verb."""

    name: str
    #: The keywords are `how` and `timeout`, for verbs that may wait.
    call: Callable[[Mbuf, Keywords], Any]
    #: The bytes of the chain afterwards.
    expected: Change = unchanged
    #: The bytes of the chain that is returned; None if the verb returns the mbuf that it was called on.
    expected_result: Change | None = None
    #: It raises Inval for a chain without packet header.
    needs_header: bool = False
    #: It has the parameters `how` and `timeout`.
    may_wait: bool = False
    #: It overwrites bytes, also shared ones.
    overwrites: bool = False
    #: It may need contiguous bytes, and raise an error for unmapped pages.
    needs_contiguous: bool = False


def chain(pool: Pool, *sizes: int) -> Mbuf:
    """A packet of mbufs with these lengths; an mbuf has a cluster if its bytes need one."""
    data = sample(sum(sizes))
    m = last = cast(Mbuf, None)
    at = 0
    for count in sizes:
        n = pool.get2(count, M_NOWAIT, MT_DATA, 0 if last else M_PKTHDR).append(data[at : at + count])
        at += count
        if last is None:
            m = n
        else:
            last.next = n
        last = n
    m.pkthdr.len = len(data)
    return m


def build_chains(layout: str, pool: Pool, size: int) -> list[Mbuf]:
    """A chain of a layout, with a full packet header, and the chains that share its bytes."""
    base, each, _ = layout.partition(SUFFIX)
    chains = LAYOUTS[base](pool, sample(size))
    if each:
        one_byte_mbufs(chains[0])
    if chains[0].flags & M_PKTHDR:
        fill_header(pool, chains[0], sender=size % 100 != 0)
    return chains


def check_all_layouts(pool: Pool, case: VerbCase) -> None:
    """Check a case on every layout."""
    for layout, size in ALL_LAYOUTS + ONE_BYTE_LAYOUTS:
        check_case(pool, case, layout, size)


def check_case(pool: Pool, case: VerbCase, layout: str, size: int) -> None:
    """Build a chain, call the verb, and check the chain, its header and the result."""
    chains = build_chains(layout, pool, size)
    layout = layout.removesuffix(SUFFIX)
    m = chains[0]
    if error := expected_error(case, layout, m):
        check_error(pool, case, chains, error)
    elif case.needs_contiguous and layout in UNMAPPED:
        before, state = header_state(m), snapshot(pool, *chains)
        try:
            result = case.call(m, {})
        except (Inval, ReadOnly):
            assert snapshot(pool, *chains) == state
        else:
            check_result(case, chains, size, before, result)
    else:
        before = header_state(m)
        check_result(case, chains, size, before, case.call(m, {}))
    pool.free_bulk(chains)
    assert (pool.out, pool.tags.count, pool.snd_tags.count, pool.stat().drops) == (0, 0, 0, 0)


def expected_error(case: VerbCase, layout: str, m: Mbuf) -> type[Exception] | None:
    """The error that the verb raises for such a chain; None if it should work."""
    if case.needs_header and not m.flags & M_PKTHDR:
        return Inval
    return ReadOnly if case.overwrites and layout == "external_bytes" else None


def check_error(pool: Pool, case: VerbCase, chains: list[Mbuf], error: type[Exception]) -> None:
    """The verb raises the error and changes nothing."""
    before = snapshot(pool, *chains)
    with pytest.raises(error):
        case.call(chains[0], {})
    assert snapshot(pool, *chains) == before


def check_result(case: VerbCase, chains: list[Mbuf], size: int, before: Any, result: Any) -> None:
    """Check chain and result against the case; free the result."""
    data, m = sample(size), chains[0]
    assert bytes(m) == case.expected(data)
    assert m.sanity()
    after = header_state(m)
    assert (after is None) == (before is None)
    if after is not None and before is not None:
        assert after[0][0] == len(m)
        # A copy of the header has its own reference to the send tag.
        if case.expected_result is None:
            assert without_identity(after) == without_identity(before)
    if case.expected_result is None:
        assert result is m
    else:
        assert (b"" if result is None else bytes(result)) == case.expected_result(data)
        if result is not None:
            assert result.sanity()
            assert not {n.id for n in mbufs(result)} & {n.id for n in mbufs(m)}
            result.freem()
    if not case.overwrites:
        assert [bytes(other) for other in chains[1:]] == [data] * (len(chains) - 1)


def without_identity(header: Any) -> Any:
    """The state of a header without its length and the identity of its tags."""
    fields, rcvif, tags, sender = header
    return fields[1:], rcvif, [tag[1:] for tag in tags], sender
