"""The planned limits are the kernel's, for any memory and any tunables."""

import json
from pathlib import Path

import pytest

from mbuf import Inval, Limits, Pool, Vm
from mbuf.kinds import KINDS, MBUF
from mbuf.pool.limits import SWITCHES, TUNABLES, Memory, tunable, written

CASES = json.loads(Path(__file__).parents[1].joinpath("conformance/limits.json").read_text("utf-8"))["cases"]
NAMES = ("maxmbufmem", "nmbclusters", "nmbjumbop", "nmbjumbo9", "nmbjumbo16", "nmbufs")
GIB = 1 << 30


def numbers(limits: Limits) -> dict[str, int]:
    return {name: getattr(limits, name) for name in NAMES}


@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_what_the_kernel_computes(case):
    given = {name: str(value) for name, value in case["tunables"].items()}
    found = Limits.plan(case["physmem_pages"] * 4096, given, case["vm_kmem_size"])
    assert numbers(found) == {name: case[name] for name in NAMES}


@pytest.mark.parametrize(
    ("gibs", "planned"),
    [
        (1, (536870912, 65536, 32768, 9709, 5461, 419430)),
        (4, (2147483648, 262144, 131072, 38836, 21845, 1677721)),
        (8, (4294967296, 524288, 262144, 77672, 43690, 3355443)),
        (16, (8589934592, 1048576, 524288, 155344, 87381, 6710886)),
    ],
)
def test_the_plan_follows_the_memory(gibs, planned):
    assert numbers(Limits.plan(gibs * GIB)) == dict(zip(NAMES, planned, strict=True))


def test_limits_are_attributes_by_the_names_of_the_kernels_variables():
    limits = Limits.plan(GIB)
    assert set(NAMES) <= set(dir(limits))
    assert repr(limits) == (
        "Limits(maxmbufmem=536870912, nmbufs=419430, nmbclusters=65536, nmbjumbop=32768, nmbjumbo9=9709, "
        "nmbjumbo16=5461)"
    )
    with pytest.raises(AttributeError, match="there is no limit nmbeans"):
        _ = limits.nmbeans


def test_memory_that_the_kernel_cannot_address_does_not_count():
    assert Limits.plan(16 * GIB, kmem=GIB) == Limits.plan(GIB, kmem=16 * GIB) == Limits.plan(GIB)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("64k", 65536),
        ("64K", 65536),
        ("0x10000", 65536),
        ("0X1f", 31),
        ("0x" + "0" * 5000 + "1f", 31),
        ("0" * 5000 + "7", 7),
        ("010", 8),
        ("0", 0),
        ("1M", 1 << 20),
        ("4g", 1 << 32),
        ("2g", 1 << 31),
        ("1t", 1 << 40),
        (" \t42", 42),
        ("+7", 7),
        ("-1", -1),
        ("-2k", -2048),
        ("9223372036854775808", (1 << 63) - 1),
        ("-9223372036854775809", -(1 << 63)),
        ("9223372036854775807k", -1024),
        ("1.5k", None),
        ("64kb", None),
        ("", None),
        ("abc", None),
        ("10 ", None),
        ("- 1", None),
        ("k", None),
    ],
)
def test_a_text_is_read_as_the_kernel_reads_it(text, number):
    assert tunable(text) == number
    saturated = text.startswith(("9223372036854775808", "-9223372036854775809", "9223372036854775807k"))
    assert (written(text) == number) != saturated


@pytest.mark.parametrize(
    ("text", "planned"),
    [
        ("64k", 65536),
        ("0x10000", 65536),
        ("010", 8),
        ("-1", -1),
        ("2g", -2147483648),
        ("4294967297", 1),
        # Automatic: zero, cut to zero, or not read at all.
        ("0", 65536),
        ("4g", 65536),
        ("1.5k", 65536),
        ("64kb", 65536),
        ("", 65536),
        ("abc", 65536),
        ("10 ", 65536),
    ],
)
def test_a_limit_is_cut_to_32_bits_and_zero_is_automatic(text, planned):
    assert Limits.plan(GIB, {"kern.ipc.nmbclusters": text}).nmbclusters == planned


@pytest.mark.parametrize(
    ("value", "planned"),
    [
        ("1g", 3 * GIB // 4),
        ("10m", 10 << 20),
        ("-1", -1),
        ("", GIB // 2),
        (4096, 4096),
        (GIB // 4 * 3, GIB // 4 * 3),
    ],
)
def test_maxmbufmem_is_at_most_three_quarters_of_the_memory(value, planned):
    assert Limits.plan(GIB, {"kern.ipc.maxmbufmem": value}).maxmbufmem == planned


@pytest.mark.parametrize("name", TUNABLES)
def test_a_number_is_read_like_its_text(name):
    for value in (0, 1, -1, 1000000, 1 << 31, 1 << 40, -(1 << 40)):
        assert Limits.plan(GIB, {name: value}) == Limits.plan(GIB, {name: str(value)})


def test_fewer_mbufs_than_clusters_are_too_few():
    assert Limits.plan(GIB, {"kern.ipc.nmbufs": 113473}).nmbufs == 419430
    assert Limits.plan(GIB, {"kern.ipc.nmbufs": 113474}).nmbufs == 113474


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("kern.ipc.nmbcluster", "did you mean kern.ipc.nmbclusters[?]"),
        ("nmbclusters", "did you mean kern.ipc.nmbclusters[?]"),
        ("kern.ipc.NMBUFS", "did you mean kern.ipc.nmbufs[?]"),
        ("", "there are kern.ipc.maxmbufmem, "),
        ("kern.vm.kmem.size", "did you mean vm.kmem_size[?]"),
        ("kmem_size", "did you mean vm.kmem_size[?]"),
    ],
)
def test_an_unknown_tunable_is_refused(name, hint):
    with pytest.raises(Inval, match=f"unknown tunable '{name}': {hint}"):
        Limits.plan(GIB, {name: 1})


def test_the_plan_ignores_switches():
    assert Limits.plan(GIB, dict.fromkeys(SWITCHES, 1)) == Limits.plan(GIB)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.attr)
def test_a_negative_limit_is_none(kind):
    # Negative all of them: a sum of the other limits would raise that on mbufs.
    given = {each.sysctl: -1 if each is MBUF else -2 for each in KINDS} | {kind.sysctl: "-1"}
    with Pool(Vm(realmem=1 << 24), tunables=given, worker=False, strict=False) as pool:
        assert pool.limits.of(kind) == -1
        assert getattr(pool.zones, kind.attr).limit == 0
        assert pool.sysctl[kind.sysctl] == -1


# How much memory there is.


@pytest.mark.parametrize("size", [150_000_000, 200_000_000, 149_999_617, 5_000_001])
def test_memory_need_not_be_whole_pages(size):
    assert Memory.plan(size).realmem == size
    assert Limits.plan(size).maxmbufmem == size // 2
    with Pool(Vm(size), worker=False) as pool:
        assert (pool.vm.realmem, pool.vm.pages) == (size, size // 4096)
        assert pool.sysctl["kern.ipc.maxmbufmem"] == size // 2


@pytest.mark.parametrize("gibs", [2, 3, 8, 64])
def test_kernel_memory_of_2g_plans_alike_on_any_machine_that_has_as_much(gibs):
    given = {
        "vm.kmem_size": "2G",
        "kern.ipc.nmbclusters": "1000000",
        "kern.ipc.nmbjumbop": "262144",
        "kern.ipc.nmbjumbo9": "65536",
        "kern.ipc.nmbjumbo16": "32768",
    }
    planned = (1073741824, 1000000, 262144, 65536, 32768, 1360448)
    assert numbers(Limits.plan(gibs * GIB, given)) == dict(zip(NAMES, planned, strict=True))


@pytest.mark.parametrize(
    ("given", "physmem", "kmem", "realmem"),
    [
        ({}, 4 * GIB, 4 * GIB, 4 * GIB),
        ({"vm.kmem_size": 0}, 4 * GIB, 4 * GIB, 4 * GIB),
        ({"vm.kmem_size": "1G"}, 4 * GIB, GIB, GIB),
        ({"vm.kmem_size": 150_000_000}, 4 * GIB, 150_003_712, 150_003_712),
        ({"vm.kmem_size": 1}, 4 * GIB, 4096, 4096),
        # At most twice the memory, which takes nothing away.
        ({"vm.kmem_size": "64G"}, 4 * GIB, 8 * GIB, 4 * GIB),
        ({"vm.kmem_size": -1}, 4 * GIB, 8 * GIB, 4 * GIB),
        ({"vm.kmem_size_max": "1G"}, 4 * GIB, GIB, GIB),
        ({"vm.kmem_size_max": "8G"}, 4 * GIB, 4 * GIB, 4 * GIB),
        ({"vm.kmem_size_max": 0}, 4 * GIB, 4 * GIB, 4 * GIB),
        # A size that was given is no matter of the most.
        ({"vm.kmem_size": "2G", "vm.kmem_size_max": "1G"}, 4 * GIB, 2 * GIB, 2 * GIB),
        ({"hw.physmem": "1G"}, GIB, GIB, GIB),
        ({"hw.physmem": "1G", "vm.kmem_size": "2G"}, GIB, 2 * GIB, GIB),
        ({"hw.physmem": "8G"}, 4 * GIB, 4 * GIB, 4 * GIB),
        ({"hw.physmem": GIB + 4095}, GIB, GIB, GIB),
        ({"hw.physmem": "1.5k"}, 4 * GIB, 4 * GIB, 4 * GIB),
    ],
)
def test_memory_is_what_tunables_leave_of_it(given, physmem, kmem, realmem):
    found = Memory.plan(4 * GIB, given)
    assert (found.physmem, found.kmem_size, found.realmem) == (physmem, kmem, realmem)
    assert Limits.plan(4 * GIB, given) == Limits.plan(realmem)


def test_a_kernel_addresses_three_fifths_of_its_space_at_most():
    assert Memory.plan(1 << 42).realmem == -(-1319413950874 // 4096) * 4096
    assert Memory.plan(1 << 42, kmem=1 << 62).realmem == 1 << 42


def test_a_pool_takes_no_more_memory_than_hw_physmem_says():
    for memory in (None, GIB):
        with Pool(memory, {"hw.physmem": "16M"}, worker=False) as pool:
            assert (pool.vm.realmem, pool.limits) == (16 << 20, Limits.plan(16 << 20))
    with Pool(Vm(GIB), {"hw.physmem": "16M"}, worker=False) as pool:
        assert (pool.vm.realmem, pool.limits) == (GIB, Limits.plan(16 << 20))
