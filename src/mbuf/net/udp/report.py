"""A last report: text sent as UDP datagrams from the pool's reserve, and put together again by who collects it.

Sends with what was laid by, when nothing else can be had. Never waits for the receiver, and never reads a zone.
"""

from __future__ import annotations

import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from mbuf.errors import Inval, NoBufs
from mbuf.vm.ints import clip

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Begins every datagram; the number of the format is the last byte.
MAGIC = b"mbuf\0\0\0\1"
#: After it: which report, which part of it, of how many.
HEAD = "!QHH"
HEAD_LEN = len(MAGIC) + 12

#: Bytes of a datagram: what goes through an Ethernet with IPv6 in one piece.
MOST = 1452
#: Most parts of a report: some 90 KB each way of counting, more than any report has.
PARTS = 64
#: Reports that are put together at once, and seconds after which one is given up.
REPORTS = 64
PATIENCE = 5.0


def send(pool: Pool, text: str, sock: socket.socket, address: Any = None) -> int:
    """Send a text through the reserve alone; how many datagrams that took.

    `sock` is a UDP socket: connected, or with an `address` to send to. The reserve must have been laid by
    with `pool.reserve.reinit`: one mbuf and one cluster will do. `Inval` if the text is too long, `NoBufs` if
    the reserve is empty, OSError if the system won't send.
    """
    data = text.encode()
    room = MOST - HEAD_LEN
    parts = max(-(-len(data) // room), 1)
    if parts > PARTS:
        raise Inval(f"report: {len(data)} bytes: give at most {PARTS * room}")
    if pool.reserve.clsize < MOST:
        raise Inval("report: nothing was laid by for it: call pool.reserve.reinit first")
    number = int.from_bytes(os.urandom(8), "big")
    with pool.reserve.active():
        for part in range(parts):
            with pool.getcl() as m:
                m.append(MAGIC).append(bytes(HEAD_LEN - len(MAGIC)))
                m.pack(HEAD, len(MAGIC), number, part, parts)
                m.append(data[part * room : (part + 1) * room])
                if address is None:
                    sock.sendmsg(m)
                else:
                    sock.sendmsg(m, (), 0, address)
    return parts


class Received(NamedTuple):
    """A report, or what has come of it: `missing` parts have not."""

    sender: Any
    text: str
    missing: int


class _Report:
    """One that comes in parts."""

    __slots__ = ("parts", "since")

    def __init__(self, count: int, since: float) -> None:
        self.parts: list[bytes | None] = [None] * count
        self.since = since

    @property
    def missing(self) -> int:
        return self.parts.count(None)

    def text(self) -> str:
        """What is there, with a line for each gap."""
        pieces = (b"\n[a part is missing]\n" if part is None else part for part in self.parts)
        return b"".join(pieces).decode(errors="replace")


class Collector:
    """Puts reports together that come to a UDP socket, in whatever order.

    `receive` takes one datagram, `late` what has waited too long. At most so many reports are begun at once: the one
    begun first is told as it is then. What is no part of a report is counted in `strange`.
    """

    def __init__(self, pool: Pool, sock: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._sock = sock
        self._clock = clock
        self._begun: OrderedDict[tuple[Any, int], _Report] = OrderedDict()
        #: Datagrams that are no part of a report, and those for which there was no memory.
        self.strange = 0
        self.dropped = 0

    def receive(self) -> list[Received]:
        """Take a datagram, into an mbuf; the reports that are whole then, or given up for want of room."""
        try:
            m = self._pool.getcl()
        except NoBufs:
            self._sock.recv(1)
            self.dropped += 1
            return []
        with m:
            count, sender = self._sock.recvfrom_into(m.room)
            m.grow(count)
            return self._take(m, sender)

    def _take(self, m: Mbuf, sender: Any) -> list[Received]:
        if m.len < HEAD_LEN or m.copydata(0, len(MAGIC)) != MAGIC:
            self.strange += 1
            return []
        number, part, parts = m.unpack(HEAD, len(MAGIC))
        key = (sender, number)
        report = self._begun.get(key)
        if not part < parts <= PARTS or (report is not None and len(report.parts) != parts):
            self.strange += 1
            return []
        told = []
        if report is None:
            if len(self._begun) == REPORTS:
                told.append(self._end(next(iter(self._begun))))
            report = self._begun[key] = _Report(parts, self._clock())
        report.parts[part] = m.copydata(HEAD_LEN, clip(m.len - HEAD_LEN))
        if not report.missing:
            told.append(self._end(key))
        return told

    def late(self) -> list[Received]:
        """Reports that lack a part still, after PATIENCE seconds."""
        now = self._clock()
        old = [key for key, report in self._begun.items() if now - report.since >= PATIENCE]
        return [self._end(key) for key in old]

    def rest(self) -> list[Received]:
        """All that is begun, as it is."""
        return [self._end(key) for key in list(self._begun)]

    def _end(self, key: tuple[Any, int]) -> Received:
        report = self._begun.pop(key)
        return Received(key[0], report.text(), report.missing)
