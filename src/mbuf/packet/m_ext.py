"""What `m.ext` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mbuf.fielddocs import documented


@documented
@dataclass(frozen=True, slots=True)
class Ext:
    """The external storage of an mbuf, as it was when `m.ext` was read. See struct m_ext in mbuf(9)."""

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
    obj: Any = field(default=None, repr=False)
    #: The first argument given with it.
    arg1: Any = field(default=None, repr=False)
    #: The second argument given with it.
    arg2: Any = field(default=None, repr=False)
