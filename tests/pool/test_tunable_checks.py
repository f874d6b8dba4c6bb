"""Warnings for tunables that the kernel silently ignores or changes."""

import warnings
from collections.abc import Callable

import pytest

from mbuf import Inval, Limits, Pool, TunableWarning, Vm
from mbuf.pool.tunable_checks import Given, check_tunables, check_value

GIB = 1 << 30
NMB = "kern.ipc.nmbclusters"
BUFS = "kern.ipc.nmbufs"
MEMORY = "kern.ipc.maxmbufmem"
IGNORED = "the kernel ignores this: give digits, and after them at most one of k, m, g, t"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *((NMB, text, IGNORED) for text in ("1.5k", "64kb", "", "abc", "10 ", "- 1", "k")),
        *((NMB, text, "") for text in ("0", "64k", "0x10000", "1M", " \t42", "+7", "2147483647")),
        (NMB, "010", "with a 0 in front this is octal, so 8"),
        (NMB, "4g", "too large for the kernel, which reads it as 0: that means automatic"),
        (NMB, "2g", "too large for the kernel, which reads it as -2147483648: that means no limit"),
        (NMB, "4294967297", "too large for the kernel, which reads it as 1"),
        (NMB, "-1", "the kernel reads it as -1: that means no limit"),
        (BUFS, "-1", ""),
        (BUFS, "2g", "too large for the kernel, which reads it as -2147483648"),
        (MEMORY, "4g", ""),
        (MEMORY, "9223372036854775808", f"too large for the kernel, which reads it as {2**63 - 1}"),
        (MEMORY, "16777216t", "too large for the kernel, which reads it as 0"),
        (NMB, 5, ""),
        (NMB, -1, "the kernel reads it as -1: that means no limit"),
        (NMB, Given(-1, "loader.conf:1"), ""),
        (BUFS, -1, ""),
        (NMB, 1 << 32, "too large for the kernel, which reads it as 0: that means automatic"),
        ("vm.zone_warnings", "0", ""),
        ("kern.ipc.mb_use_ext_pgs", "1, ", ""),
        ("kern.ipc.mb_use_ext_pgs", "true", IGNORED),
        ("kern.ipc.mb_use_ext_pgs", "-1", IGNORED),
        ("kern.ipc.mb_use_ext_pgs", 256, IGNORED),
    ],
)
def test_a_value_that_is_not_what_it_seems_to_be_is_remarked_on(name: str, value: int | str, said: str) -> None:
    assert check_value(name, value) == said


def said(tunables: dict[str, int | str]) -> list[str]:
    return list(check_tunables(tunables, GIB, Limits.plan(GIB, tunables)))


def test_nothing_is_said_of_tunables_that_are_in_order() -> None:
    assert said({}) == said({NMB: "64k", BUFS: 200000, MEMORY: "512m"}) == []


def test_too_few_mbufs_for_automatic_clusters_are_replaced_and_that_is_said() -> None:
    assert said({BUFS: 100}) == [
        "kern.ipc.nmbufs=100 is less than 65536 + 32768 + 9709 + 5461 = 113474 clusters: "
        "the kernel takes 419430 instead"
    ]
    assert said({BUFS: 113474}) == []


def test_more_memory_than_three_quarters_is_cut_and_that_is_said() -> None:
    assert said({MEMORY: "1g"}) == [
        "kern.ipc.maxmbufmem=1073741824 is more than three quarters of 1073741824 bytes of memory: "
        "the kernel takes 805306368"
    ]


def test_memory_for_less_than_a_cluster_is_refused_unless_clusters_are_given() -> None:
    with pytest.raises(Inval, match="maxmbufmem=4096 is too little for one cluster: give the pool 16384 bytes"):
        Pool(8192, limits="freebsd", worker=False)
    with Pool(8192, {NMB: 2}, worker=False) as pool:
        assert pool.zones.clust.limit == 2
    with Pool(16384, limits="freebsd", worker=False) as pool:
        assert pool.zones.clust.limit == 1
    with Pool(8192, limits="freebsd", strict=False, worker=False) as pool:
        assert pool.zones.clust.limit == 0


@pytest.mark.parametrize("memory", [0, -1])
def test_unlimited_memory_is_shown(memory: int) -> None:
    assert said({MEMORY: memory}) == [f"kern.ipc.maxmbufmem={memory} leaves no limit but those that are given"]


def test_more_clusters_than_the_kernel_can_add_cause_a_warning() -> None:
    assert said({NMB: 2**31 - 1}) == [
        "2147483647 + 32768 + 9709 + 5461 = 2147531585 clusters are more than 2147483647: the kernel takes 0 mbufs"
    ]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {NMB: 10, BUFS: 9},
            "kern.ipc.nmbufs=9 is less than 10, the clusters of kern.ipc.nmbclusters; raise it, or leave it out "
            "(the kernel would take 419430)",
        ),
        (
            {NMB: 10, "kern.ipc.nmbjumbo9": "0x10", BUFS: "25"},
            "kern.ipc.nmbufs=25 is less than 10 + 16 = 26, the clusters of kern.ipc.nmbclusters, "
            "kern.ipc.nmbjumbo9; raise it, or leave it out (the kernel would take 419430)",
        ),
        (
            {NMB: Given(10, "a"), BUFS: Given(9, "loader.conf:7")},
            "loader.conf:7: kern.ipc.nmbufs=9 is less than 10, the clusters of kern.ipc.nmbclusters; raise it, "
            "or leave it out (the kernel would take 419430)",
        ),
    ],
)
def test_fewer_mbufs_than_clusters_given_are_refused(given: dict[str, int | str], line: str) -> None:
    with pytest.raises(Inval) as caught:
        said(given)
    assert str(caught.value) == line
    vm = Vm(GIB)
    with pytest.raises(Inval, match="is less than"):
        Pool(vm, given, worker=False)
    assert not vm.lowmem
    assert not vm.freed


@pytest.mark.parametrize("name", ["hw.physmem", "vm.kmem_size"])
def test_memory_of_less_than_a_page_is_refused(name: str) -> None:
    with pytest.raises(Inval, match=f"{name}=4095: give bytes of memory, 4096 or more"):
        said({name: 4095})
    if name == "hw.physmem":
        with pytest.raises(Inval, match="hw.physmem=0: give bytes"):
            said({name: 0})


def test_more_memory_than_there_is_is_remarked_on() -> None:
    assert said({"hw.physmem": "2G", "vm.kmem_size": "2G"}) == [
        f"hw.physmem={2 * GIB} is more than there is: the {GIB} bytes of memory are used"
    ]
    assert said({"vm.kmem_size": "256M", MEMORY: "512M"}) == [
        f"{MEMORY}={512 << 20} is more than three quarters of {256 << 20} bytes of memory: the kernel takes {192 << 20}"
    ]
    assert check_value("vm.kmem_size", "-1") == "the kernel reads it as -1: that means all memory"
    assert check_value("vm.kmem_size", "8g") == ""


def test_where_the_sum_wraps_it_is_refused_all_the_same() -> None:
    with pytest.raises(Inval, match="is less than 2147483647 [+] 2147483647 = 4294967294, the clusters of"):
        said({NMB: 2**31 - 1, "kern.ipc.nmbjumbop": 2**31 - 1, BUFS: 5})


@pytest.mark.parametrize("given", [{NMB: 10, BUFS: 0}, {NMB: Given(-1), BUFS: 120000}, {NMB: 0, BUFS: 113474}])
def test_what_is_automatic_or_no_limit_contradicts_nothing(given: dict[str, int | str]) -> None:
    assert said(given) == []


def test_a_pool_warns_or_does_as_the_kernel_without_a_word(make: Callable[..., Pool]) -> None:
    odd: dict[str, int | str] = {NMB: "4g", BUFS: 100}
    with pytest.warns(TunableWarning) as caught:
        pool = make(odd, mem=GIB)
    assert [str(each.message) for each in caught] == said(odd)
    assert [each.filename.endswith("conftest.py") for each in caught] == [True, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet = make({NMB: 10, BUFS: 9}, mem=GIB, strict=False)
    assert quiet.sysctl[BUFS] == pool.sysctl[BUFS] == 419430
