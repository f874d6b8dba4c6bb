"""A relay in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RelayStat:
    """What a relay has done so far, and who is there."""

    #: Packets that went on, or reads whose bytes did; and bytes.
    packets: int
    bytes: int
    #: How often the pool refused memory to receive into.
    denied: int
    #: Datagrams that were lost: in the queue of a full socket, for want of memory, or because nobody took them.
    dropped: int
    #: Clients so far, and those that are here now.
    clients: int
    open: int
    #: Clients for whom there was nobody on the other side; connections that one side broke off; those cut for memory.
    refused: int = 0
    broken: int = 0
    cut: int = 0
