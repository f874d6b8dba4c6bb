"""How many bytes of a file each mbuf has."""

from pathlib import Path

import pytest

from chains import lens
from mbuf import Inval, Pool


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(250)) * 200)
    return path


def test_an_mbuf_has_as_many_bytes_as_are_asked_for(pool: Pool, path: Path) -> None:
    with pool.file(path) as file:
        for off, most in ((0, 16384), (100, 16384), (4095, 16384), (3, 4096), (0, 49999)):
            chain = file.getm(off, maxseg=min(most, 20480))
            assert bytes(chain) == path.read_bytes()[off:]
            if most < 20480:
                whole, rest = divmod(50000 - off, most)
                assert lens(chain) == [most] * whole + [rest]
            chain.freem()
        with file.getm() as chain:
            assert lens(chain) == [20480, 20480, 9040]
        with file.getm(0, 5, maxseg=2) as chain:
            assert lens(chain) == [2, 2, 1]


@pytest.mark.parametrize("maxseg", [0, -1, 20481, 1 << 70])
def test_more_than_an_mbuf_holds_or_nothing_is_refused(pool: Pool, path: Path, maxseg: int) -> None:
    with pool.file(path) as file, pytest.raises(Inval, match="maxseg"):
        file.getm(maxseg=maxseg)
