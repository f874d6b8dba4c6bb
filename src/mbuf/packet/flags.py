"""The names of flags, mbuf types and storage types."""

from types import MappingProxyType

from mbuf import const

_NAMES = tuple(
    (value, name)
    for name, value in vars(const).items()
    if name.startswith("M_") and name not in {"M_NOWAIT", "M_WAITOK", "M_COPYALL"} and value.bit_count() == 1
    if name not in {"M_NOTREADY", "M_BLOCKED"}
)
_TYPES = MappingProxyType(
    {value: name for name, value in vars(const).items() if name.startswith("MT_") if name != "MT_HEADER"}
)
_STORAGE = MappingProxyType(
    {value: name for name, value in vars(const).items() if name.startswith("EXT_") if "FLAG" not in name}
)


def flag_names(bits: int) -> str:
    """Return names like `M_EXT|M_PKTHDR`; `0` for no flag."""
    names: list[str] = []
    # (No generator: where memory runs out, Python 3.12 crashes on making one.)
    for value, name in _NAMES:
        if bits & value:
            names.append(name)
    return "|".join(names) or "0"


def type_name(kind: int) -> str:
    """Return a name like `MT_DATA`, or the number if it has none."""
    return _TYPES.get(kind, f"type {kind}")


def ext_name(type: int) -> str:
    """Return a name like `EXT_CLUSTER`, or the number if it has none."""
    return _STORAGE.get(type, f"storage {type}")
