"""What a relay has counted: one dataclass for streams and for datagrams."""

from __future__ import annotations

from dataclasses import dataclass

from mbuf.fielddocs import documented


@documented
@dataclass(frozen=True, slots=True)
class RelayStat:
    """The counters of a relay at one moment, from `relay.stat()`."""

    #: Datagrams that were sent, in both directions; of streams, reads that returned some bytes.
    packets: int
    #: Bytes that were sent, in both directions.
    bytes: int
    #: Times that the pool had no memory to receive into.
    denied: int
    #: Datagrams that were lost: in a full socket, because there was no memory, or because they couldn't be sent.
    dropped: int
    #: Clients so far.
    clients: int
    #: Clients now: connections of streams, or UDP clients that are not forgotten.
    open: int
    #: Clients for which the destination refused the connection (streams).
    refused: int = 0
    #: Connections that ended with an error of a socket, such as a reset (streams).
    failed: int = 0
    #: Stalled connections that the relay aborted because others waited for memory (streams).
    aborted: int = 0
