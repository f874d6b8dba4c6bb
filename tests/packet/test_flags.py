import pytest

from mbuf import M_EOR, M_EXT, M_NOTREADY, M_PKTHDR, M_PROTO11, M_RDONLY
from mbuf.packet.flags import flag_names


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0, "0"),
        (M_EXT, "M_EXT"),
        (M_PKTHDR | M_EXT, "M_EXT|M_PKTHDR"),
        (M_RDONLY | M_EOR | M_PROTO11, "M_EOR|M_RDONLY|M_PROTO11"),
        (M_NOTREADY, "M_PROTO1"),
    ],
)
def test_flags_have_the_kernels_names_lowest_first(bits: int, text: str) -> None:
    assert flag_names(bits) == text


def test_each_of_24_flags_has_one_name() -> None:
    assert len(set(flag_names(0xFFFFFF).split("|"))) == 24
