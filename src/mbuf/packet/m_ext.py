"""What `m.ext` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.fielddocs import documented

if TYPE_CHECKING:
    from typing import Any


@documented
class Ext:
    """The external storage of an mbuf, as it was when `m.ext` was read. See struct m_ext in mbuf(9)."""

    __slots__ = ("type", "size", "count", "embedded", "id", "obj", "arg1", "arg2")
    #: EXT_CLUSTER, EXT_PACKET, ...
    type: int
    #: Bytes of the storage.
    size: int
    #: Mbufs that use it, or the count of its `RefCount`. See m_extrefcnt.
    count: int
    #: True when this mbuf is the owner, which holds the count. See EXT_FLAG_EMBREF.
    embedded: bool
    #: A number that no other storage in use has. Mbufs that share storage have the same.
    id: int
    #: The object given to `extadd`, None for other storage.
    obj: Any
    #: The first argument given with it.
    arg1: Any
    #: The second argument given with it.
    arg2: Any

    def __init__(self, *fields: Any) -> None:
        for name, value in zip(Ext.__slots__, (*fields, None, None, None), strict=False):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name}: an Ext can't be changed: it says what the storage was when m.ext was read")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ext):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Ext.__slots__)

    def __repr__(self) -> str:
        fields = [f"{name}={getattr(self, name)!r}" for name in ("type", "size", "count", "embedded", "id")]
        return f"Ext({', '.join(fields)})"
