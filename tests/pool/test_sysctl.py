from collections.abc import Callable
from typing import Any

import pytest

from interfaces import SndTagInterface
from mbuf import Inval, Pool

GIB = 1 << 30
CLUSTERS = "kern.ipc.nmbclusters"
FIXED = [
    "kern.ipc.maxmbufmem",
    "kern.ipc.max_linkhdr",
    "kern.ipc.max_protohdr",
    "kern.ipc.max_hdr",
    "kern.ipc.max_datalen",
]
MEMORY = ["vm.kmem_size", "vm.kmem_size_max", "hw.physmem"]
SND_TAGS = "kern.ipc.num_snd_tags"
LIMITS = [
    "kern.ipc.nmbufs",
    CLUSTERS,
    "kern.ipc.nmbjumbop",
    "kern.ipc.nmbjumbo9",
    "kern.ipc.nmbjumbo16",
]
SWITCH = "kern.ipc.mb_use_ext_pgs"
NAMES = [*FIXED, SND_TAGS, SWITCH, *LIMITS]


@pytest.fixture
def gib(make: Callable[..., Pool]) -> Pool:
    """A pool on a machine of 1 GiB."""
    return make(mem=GIB)


def test_the_names_are_the_kernels(gib: Pool) -> None:
    names = list(gib.sysctl)
    assert names[:12] == list(gib.sysctl.under("kern.ipc")) == list(gib.sysctl.under("kern")) == NAMES
    assert gib.sysctl.under(names[0]) == (names[0],)
    assert names[12:] == [*gib.sysctl.under("vm"), "debug.vm_lowmem", "hw.physmem"]
    assert len(names) == len(gib.sysctl) == len(set(names))


def test_the_values_are_those_in_force(gib: Pool) -> None:
    values = [GIB // 2, 16, 60, 76, 92, 0, 0, 419430, 65536, 32768, 9709, 5461]
    assert [gib.sysctl[name] for name in NAMES] == values
    gib.zones.jumbop.set_max(40000)
    assert gib.sysctl["kern.ipc.nmbjumbop"] == 40000


def test_the_worked_example(gib: Pool) -> None:
    """freebsd-13.md, 8.8."""
    calls: list[str] = []
    for name, event in gib.changes.items():
        event.register(lambda name=name: calls.append(name))
    gib.sysctl[CLUSTERS] = 65536
    assert calls == []
    with pytest.raises(Inval, match="65536 and can only go up"):
        gib.sysctl[CLUSTERS] = 65535
    gib.sysctl[CLUSTERS] = 1_000_000
    assert calls == [CLUSTERS]
    with pytest.raises(Inval, match=r"nmbufs is 419430, less than 1000000 \+ 32768 \+ 9709 \+ 5461 clusters"):
        gib.sysctl[CLUSTERS] = 1_000_001
    with pytest.raises(Inval):
        gib.sysctl["kern.ipc.nmbjumbop"] = 40000
    gib.sysctl["kern.ipc.nmbufs"] = 2_000_000
    assert calls == [CLUSTERS, "kern.ipc.nmbufs"]
    gib.sysctl["kern.ipc.nmbjumbop"] = 40000
    assert calls == [CLUSTERS, "kern.ipc.nmbufs"]
    assert (gib.zones.clust.limit, gib.zones.mbuf.limit, gib.zones.jumbop.limit) == (
        1_000_000,
        2_000_000,
        40000,
    )


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [0, 1, -1, 2**31, 2**32, 2**63, -(2**63) - 1, 10**30])
def test_what_cannot_be_changes_nothing(gib: Pool, name: str, value: int) -> None:
    before = dict(gib.sysctl)
    limits = [(zone.limit, zone.depot.bucket_size) for zone in gib.zones.all()]
    with pytest.raises(Inval, match=f"{name} is "):
        gib.sysctl[name] = value
    assert dict(gib.sysctl) == before
    assert [(zone.limit, zone.depot.bucket_size) for zone in gib.zones.all()] == limits


@pytest.mark.parametrize("value", ["1000000", None, 1_000_000.5, b"1"])
def test_what_is_not_a_whole_number_changes_nothing(gib: Pool, value: Any) -> None:
    before = dict(gib.sysctl)
    with pytest.raises((TypeError, Inval)):
        gib.sysctl["kern.ipc.nmbufs"] = value
    assert dict(gib.sysctl) == before


@pytest.mark.parametrize("name", FIXED + MEMORY)
@pytest.mark.parametrize("value", [0, 16, GIB, -1, 2**31, 2**63, None])
def test_what_was_set_when_the_pool_was_made_can_only_be_read(gib: Pool, name: str, value: Any) -> None:
    before = dict(gib.sysctl)
    with pytest.raises(Inval, match=f"{name} is read only"):
        gib.sysctl[name] = value
    assert dict(gib.sysctl) == before


@pytest.mark.parametrize(("linkhdr", "protohdr"), [(16, 60), (16, 40), (0, 0), (100, 68)])
def test_the_headers_add_up(make: Callable[..., Pool], linkhdr: int, protohdr: int) -> None:
    pool = make(max_linkhdr=linkhdr, max_protohdr=protohdr)
    assert [pool.sysctl[name] for name in FIXED[1:]] == [
        linkhdr,
        protohdr,
        linkhdr + protohdr,
        168 - linkhdr - protohdr,
    ]
    assert (pool.max_linkhdr, pool.max_protohdr) == (linkhdr, protohdr)


def test_the_memory_of_the_plan_is_shown(make: Callable[..., Pool]) -> None:
    pool = make(mem=GIB)
    assert [pool.sysctl[name] for name in MEMORY] == [GIB, 1319413950874, GIB]
    pool = make({"vm.kmem_size": "512M", "hw.physmem": "900M"}, mem=GIB)
    assert [pool.sysctl[name] for name in MEMORY] == [GIB // 2, 1319413950874, 900 << 20]
    assert pool.sysctl["kern.ipc.maxmbufmem"] == GIB // 4
    assert pool.sysctl["vm.uma_kmem_limit"] == GIB // 2
    pool = make({"vm.kmem_size_max": "256M"}, mem=GIB)
    assert [pool.sysctl[name] for name in MEMORY] == [GIB // 4, GIB // 4, GIB]
    assert pool.sysctl["kern.ipc.maxmbufmem"] == GIB // 8


def test_send_tags_are_counted_from_0_whatever_the_count_is_set_to(gib: Pool) -> None:
    card = SndTagInterface()
    one, two = gib.snd_tag_alloc(card), gib.snd_tag_alloc(card)
    assert gib.sysctl[SND_TAGS] == 2
    for value in (0, 5, -1, 2**31, 2**63):
        gib.sysctl[SND_TAGS] = value
        assert gib.sysctl[SND_TAGS] == 0
    one.rele()
    assert gib.sysctl[SND_TAGS] == gib.snd_tags.count == -1
    two.rele()
    gib.sysctl[SND_TAGS] = 0


@pytest.mark.parametrize("value", [1.5, None, "0"])
def test_the_count_of_send_tags_is_set_to_a_number(gib: Pool, value: Any) -> None:
    tag = gib.snd_tag_alloc(SndTagInterface())
    with pytest.raises(TypeError):
        gib.sysctl[SND_TAGS] = value
    assert gib.sysctl[SND_TAGS] == 1
    tag.rele()


def test_an_unknown_name_is_unknown(gib: Pool) -> None:
    for ask in (
        lambda: gib.sysctl["kern.ipc.colour"],
        lambda: gib.sysctl.__setitem__("kern.ipc.colour", 1),
        lambda: gib.sysctl.describe("kern.ipc.colour"),
        lambda: gib.sysctl.type("kern.ipc.colour"),
        lambda: gib.sysctl.under("kern.ipc.colour"),
        lambda: gib.sysctl.under("kern.ipc."),
        lambda: gib.sysctl.under(""),
    ):
        with pytest.raises(KeyError, match="unknown name"):
            ask()
    with pytest.raises(KeyError, match="did you mean kern.ipc.nmbclusters"):
        gib.sysctl["kern.ipc.nmbcluster"]
    assert "kern.ipc.colour" not in gib.sysctl
    assert gib.sysctl.get("kern.ipc.colour", 7) == 7


def test_nothing_can_be_deleted(gib: Pool) -> None:
    for delete in (
        lambda: gib.sysctl.__delitem__(CLUSTERS),
        gib.sysctl.clear,
        gib.sysctl.popitem,
        lambda: gib.sysctl.pop(CLUSTERS),
    ):
        with pytest.raises(Inval, match="deleted"):
            delete()
    assert gib.sysctl[CLUSTERS] == 65536


def test_each_value_has_the_kernels_type(gib: Pool) -> None:
    assert [gib.sysctl.type(name) for name in NAMES] == [
        "int64_t",
        *["integer"] * 4,
        "uint64_t",
        "uint8_t",
        *["integer"] * 5,
    ]
    for name in gib.sysctl:
        kind = {"string": str, "opaque": bytes}.get(gib.sysctl.type(name), int)
        assert isinstance(gib.sysctl[name], kind), name
        assert bool(gib.sysctl.format(name)) == (kind is bytes)
        assert gib.sysctl.describe(name)


def test_a_switch_is_on_or_off(gib: Pool) -> None:
    for value, kept in ((1, 1), (0, 0), (-7, 1)):
        gib.sysctl[SWITCH] = value
        assert gib.sysctl[SWITCH] == kept


def test_each_value_is_described_in_the_kernels_words(gib: Pool) -> None:
    assert [gib.sysctl.describe(name) for name in NAMES] == [
        "Maximum real memory allocatable to various mbuf types",
        "Size of largest link layer header",
        "Size of largest protocol layer header",
        "Size of largest link plus protocol header",
        "Minimum space left in mbuf after max_hdr",
        "# of active mbuf send tags",
        "Use unmapped mbufs for sendfile(2) and TLS offload",
        "Maximum number of mbufs allowed",
        "Maximum number of mbuf clusters allowed",
        "Maximum number of mbuf page size jumbo clusters allowed",
        "Maximum number of mbuf 9k jumbo clusters allowed",
        "Maximum number of mbuf 16k jumbo clusters allowed",
    ]


def test_a_zone_without_a_limit_keeps_the_number_that_was_planned(make: Callable[..., Pool]) -> None:
    pool = make({"kern.ipc.nmbjumbo9": -1}, mem=GIB, strict=False)
    assert (pool.sysctl["kern.ipc.nmbjumbo9"], pool.zones.jumbo9.limit) == (-1, 0)
    pool.sysctl["kern.ipc.nmbjumbo9"] = 7
    assert (pool.sysctl["kern.ipc.nmbjumbo9"], pool.zones.jumbo9.limit) == (7, 7)


def test_a_listener_that_fails_comes_after_the_change(gib: Pool) -> None:
    gib.changes[CLUSTERS].register(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        gib.sysctl[CLUSTERS] = 70000
    assert gib.sysctl[CLUSTERS] == 70000


def test_a_raised_limit_is_used_at_once(make: Callable[..., Pool], few: Callable[..., dict[str, int]]) -> None:
    pool = make(few(clusters=4))
    taken = pool.getcl_bulk(4)
    with pytest.raises(MemoryError):
        pool.getcl()
    pool.sysctl[CLUSTERS] = 6
    taken += pool.getcl_bulk(2)
    with pytest.raises(MemoryError):
        pool.getcl()
    pool.free_bulk(taken)


def test_the_period_of_low_memory_is_whole_seconds_of_an_int(gib: Pool) -> None:
    name = "vm.lowmem_period"
    assert (gib.sysctl[name], gib.sysctl.type(name)) == (10, "integer")
    for value, kept in ((3, 3), (0, 0), ((1 << 32) + 5, 5), (1 << 31, -(1 << 31))):
        gib.sysctl[name] = value
        assert gib.sysctl[name] == kept
    gib.vm.lowmem_period = 2.5
    assert gib.sysctl[name] == 2


def test_a_negative_period_is_one_that_never_ends(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(clock=clock)
    assert pool.vm.low()
    pool.sysctl["vm.lowmem_period"] = -1
    assert pool.sysctl["vm.lowmem_period"] == -1
    clock.now += 1e9
    assert not pool.vm.low()
    pool.sysctl["vm.lowmem_period"] = 0
    assert pool.vm.low()
    pool.vm.lowmem_period = float("inf")
    assert pool.sysctl["vm.lowmem_period"] == -1


def test_the_sysctl_reports_low_memory_with_its_flags(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(clock=clock)
    calls: list[int] = []
    pool.vm.lowmem.register(calls.append)
    pool.getcl().free()
    for why in (0, 1, 2, 3, 3, 1 << 32):
        pool.sysctl["debug.vm_lowmem"] = why
    assert (calls, pool.drains.count) == ([1, 2, 3, 3], 4)
    for why in (4, -1, 7):
        with pytest.raises(Inval, match=r"debug\.vm_lowmem: give 1 .*, 2 .*, their sum, or 0"):
            pool.sysctl["debug.vm_lowmem"] = why
    # This calls only protocols: cached items stay, as in the kernel.
    assert (pool.sysctl["debug.vm_lowmem"], len(calls), pool.zones.pack.cached > 0) == (0, 4, True)


def test_what_is_debugged_is_all_or_nothing(make: Callable[..., Pool]) -> None:
    for debug in (False, True):
        pool = make(debug=debug)
        values = [pool.sysctl[f"vm.debug.{name}"] for name in ("divisor", "trashed", "skipped")]
        assert values == [int(debug), 0, 0]
