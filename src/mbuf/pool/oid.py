"""A name in the sysctl tree: its description, and how its value is read and set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mbuf.pool.subsystem import Subsystem


class Node(NamedTuple):
    """A name of the tree. Without `write` it is read only."""

    #: In the kernel's words: what it is, and its type as `sysctl -t` prints it.
    description: str
    type: str
    #: A number; a text where the type is `string`, bytes where it is `opaque`.
    read: Callable[[Subsystem], Any]
    write: Callable[[Subsystem, str, int], None] | None = None
    #: Of bytes: what they are, as `sysctl -o` prints it.
    format: str = ""
