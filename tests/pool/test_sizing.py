"""What `Pool`'s arguments make of memory: a budget, or FreeBSD's limits."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from mbuf import Inval, Limits, Mbuf, NoBufs, NotSupported, Pool, Vm
from mbuf.const import MSIZE
from mbuf.kinds import KINDS
from mbuf.pool.sizing import parse_size


def all_of(pool: Pool, size: int) -> list[Mbuf]:
    """All mbufs that there are, with clusters of that size."""
    taken = []
    with suppress(NoBufs):
        while True:
            taken.append(pool.get() if size == MSIZE else pool.getjcl(size=size))
    return taken


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64M", 64 << 20),
        ("64MiB", 64 << 20),
        (" 64 mib ", 64 << 20),
        ("512k", 512 << 10),
        ("512KiB", 512 << 10),
        ("2G", 2 << 30),
        ("2GiB", 2 << 30),
        ("1T", 1 << 40),
        ("65536", 65536),
        ("65536B", 65536),
        (65536, 65536),
    ],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "M", "1.5G", "-1M", "64MB", "64 kb", "64Mi", "64ib", "0x40M", "1e6", "12 34", "64P"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Inval, match=r'memory .*give a whole number with K, M, G or T, such as "64M"'):
        Pool(text)


def test_decimal_units_get_a_hint() -> None:
    with pytest.raises(Inval, match="64M or 64MiB means powers of 1024"):
        Pool("64MB")


@pytest.mark.parametrize("junk", [1.5, True, [1], object(), b"1"])
def test_what_is_not_a_memory_is_refused(junk: Any) -> None:
    with pytest.raises(TypeError, match="Pool: memory: give bytes"):
        Pool(junk)


@pytest.mark.parametrize("size", [-1, 0, 4095, "3K", 1 << 62, 1 << 70, "9999999999999T"])
def test_so_many_bytes_cannot_be(size: int | str) -> None:
    with pytest.raises(Inval, match="memory"):
        Pool(size)


@pytest.mark.parametrize("memory", ["16M", 16 << 20])
def test_a_budget_has_no_limits(memory: int | str) -> None:
    with Pool(memory, worker=False) as pool:
        assert (pool.vm.realmem, pool.vm.pages) == (16 << 20, 4096)
        assert all(zone.limit == 0 for zone in pool.zones.all())


def test_the_name_of_the_first_argument_is_memory() -> None:
    with Pool(memory="1M", worker=False) as pool:
        assert pool.vm.realmem == 1 << 20


def test_vm_and_tunables_mean_freebsd_limits() -> None:
    size = 16 << 20
    for made in (
        Pool(Vm(size), worker=False),
        Pool(vm=Vm(size), worker=False),
        Pool(size, limits="freebsd", worker=False),
        Pool("16M", limits="freebsd", worker=False),
    ):
        with made as pool:
            assert pool.limits == Limits.plan(size)
            assert pool.zones.clust.limit == pool.limits.nmbclusters
    with Pool(size, {"kern.ipc.nmbclusters": 77}, strict=False, worker=False) as pool:
        assert pool.zones.clust.limit == 77


def test_no_argument_means_the_memory_of_the_machine() -> None:
    with Pool(worker=False) as pool:
        assert pool.limits == Limits.plan(pool.vm.realmem)


def test_arguments_that_contradict_each_other_are_refused() -> None:
    vm, anything = Vm(1 << 20), Pool
    with pytest.raises(Inval, match="give memory or a Vm, not both"):
        Pool("1M", vm=vm)
    with pytest.raises(Inval, match="give memory or a Vm, not both"):
        Pool(vm, vm=vm)
    with pytest.raises(TypeError, match="vm must be a Vm, not a int; give bytes as memory"):
        anything(vm=1 << 20)  # type: ignore[arg-type]
    with pytest.raises(Inval, match="limits 'linux': give \"freebsd\", or a mapping"):
        Pool("1M", limits="linux")
    for arguments in ({}, {"vm": vm}, {"memory": "1M", "tunables": {"kern.ipc.nmbclusters": 9}}):
        for more in ({"limits": {"clust": 9}}, {"reserve_for": {"mbuf": "4K"}}):
            with pytest.raises(Inval, match="refine a pool with a budget"):
                anything(**arguments, **more)  # type: ignore[arg-type]


def test_kinds_and_their_numbers_are_checked() -> None:
    anything: Any = Pool
    with pytest.raises(Inval, match="limits: unknown kind .cluster.: did you mean clust"):
        anything("1M", limits={"cluster": 9})
    with pytest.raises(Inval, match="reserve_for: unknown kind .pack."):
        anything("1M", reserve_for={"pack": "4K"})
    for bad in (0, -1, 1.5, "9", True, 1 << 31):
        with pytest.raises(Inval, match="limits: clust .*: give the most items of this kind"):
            anything("1M", limits={"clust": bad})
    with pytest.raises(TypeError, match="limits: give a mapping of kinds"):
        anything("1M", limits=[("clust", 9)])
    with pytest.raises(Inval, match="leave some of the 1048576 for others"):
        anything("1M", reserve_for={"mbuf": "512K", "clust": "512K"})


def test_limit_sysctls_read_as_what_is_possible_and_cannot_be_set() -> None:
    with Pool("1M", limits={"jumbo9": 5}, worker=False) as pool:
        for kind in KINDS:
            name = kind.sysctl
            if kind.attr != "jumbo9":
                taken = all_of(pool, kind.size)
                assert pool.sysctl[name] == len(taken)
                pool.free_bulk(taken)
            with pytest.raises(
                NotSupported, match=rf'{name} can.t be set: .*Pool\("64M", limits=\{{"{kind.attr}": 99\}}\)'
            ):
                pool.sysctl[name] = 99
        assert pool.sysctl["kern.ipc.nmbjumbo9"] == 5
        assert pool.sysctl["kern.ipc.maxmbufmem"] == 1 << 20
