"""Flags by name, for people."""

from mbuf import const

_NAMES = tuple(
    (value, name)
    for name, value in vars(const).items()
    if name.startswith("M_") and name not in {"M_NOWAIT", "M_WAITOK", "M_COPYALL"} and value.bit_count() == 1
    if name not in {"M_NOTREADY", "M_BLOCKED", "M_FREED"}
)


def flag_names(bits: int) -> str:
    """`M_EXT|M_PKTHDR`; `0` for none."""
    return "|".join(name for value, name in _NAMES if bits & value) or "0"
