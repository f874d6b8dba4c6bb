"""A name in the sysctl tree: what it is, where its value lives, and how it is set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mbuf.pool.subsystem import Subsystem


class Node(NamedTuple):
    """A value of the tree. What has no `write` can only be read."""

    #: In the kernel's words: what it is, and its type as `sysctl -t` prints it.
    description: str
    type: str
    #: A number; a text where the type is `string`, bytes where it is `opaque`.
    read: Callable[[Subsystem], Any]
    write: Callable[[Subsystem, str, int], None] | None = None
    #: Of bytes: what they are, as `sysctl -o` prints it.
    format: str = ""
