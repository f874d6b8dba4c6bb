import gc
from typing import Any

import pytest

from mbuf import Inval, Pool, Vm


@pytest.mark.parametrize("tunables", [{"kern.ipc.colour": 1}, {"kern.ipc.nmbuf": 1}])
def test_an_unknown_tunable_is_refused_and_leaves_nothing_behind(tunables: dict[str, int]) -> None:
    vm = Vm(1 << 24)
    with pytest.raises(Inval, match="unknown tunable"):
        Pool(vm=vm, tunables=tunables)
    gc.collect()
    assert not vm.lowmem
    assert not vm.freed


@pytest.mark.parametrize("ncpu", [0, -1, 1025, 2**31, 2**64])
def test_so_many_cpus_cannot_be(ncpu: int) -> None:
    with pytest.raises(Inval, match="ncpu"):
        Pool(vm=Vm(1 << 24), ncpu=ncpu)


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError):
        Pool(colour=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["max_linkhdr", "max_protohdr"])
@pytest.mark.parametrize("bad", [-1, 169, 1 << 31, 1 << 64, -(1 << 70)])
def test_headers_of_so_many_bytes_cannot_be(name: str, bad: int) -> None:
    with pytest.raises(Inval, match=f"{name} .*: give the bytes of the largest header, 0 to 168"):
        Pool(Vm(1 << 24), **{name: bad})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_linkhdr", "max_protohdr", "ncpu", "nsfbufs"])
@pytest.mark.parametrize("junk", ["1", 1.5, None])
def test_what_is_not_a_number_is_refused(name: str, junk: Any) -> None:
    with pytest.raises(TypeError):
        Pool(Vm(1 << 24), **{name: junk})


@pytest.mark.parametrize("junk", [5, None, "", [("a", 1)]])
def test_what_is_not_a_mapping_of_tunables_is_refused(junk: Any) -> None:
    with pytest.raises(TypeError, match="tunables: give a mapping of names to numbers"):
        Pool(Vm(1 << 24), junk)


@pytest.mark.parametrize("junk", [1.5, None, [1]])
def test_a_tunable_that_is_not_a_number_is_refused(junk: Any) -> None:
    with pytest.raises(TypeError):
        Pool(Vm(1 << 24), {"kern.ipc.nmbclusters": junk})
