"""Reports of programs that ran out of mbufs: text sent as UDP datagrams, in mbufs of the pool's reserve.

`send` divides a text into numbered parts, one datagram each; a `Collector` in another program reassembles them. Nothing
is acknowledged or sent again: a report that lacks parts is returned with a note in place of each.

    datagram    "mbuf\\0\\0\\0\\1", number of the report (64 bits, random), number of the part (16), parts (16), text
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

#: The first bytes of every datagram; the last of them is the version of the format.
MAGIC = b"mbuf\0\0\0\1"
#: The fields after it: number of the report, number of the part, how many parts.
HEAD = "!QHH"
HEAD_LEN = len(MAGIC) + 12

#: The most bytes of a datagram: what Ethernet carries over IPv6 without fragments.
DATAGRAM_MAX = 1452
#: The most parts of a report: 91,648 bytes, more than any report has.
PARTS_MAX = 64
#: The most reports that are reassembled at once, and the seconds after which one is returned with parts missing.
REPORTS_MAX = 64
TIMEOUT = 5.0


def send(pool: Pool, text: str, sock: socket.socket, address: Any = None) -> int:
    """Send a text with mbufs of the pool's reserve alone; return how many datagrams were sent.

    `sock` is a UDP socket that is connected, or sends to `address`. The reserve must have been filled before with
    `pool.reserve.reinit`: one mbuf and one cluster suffice, as they are used again for each datagram. Raises `Inval`
    if the text is too long or the reserve was never filled, `NoBufs` if the reserve is empty, OSError if the system
    doesn't send.
    """
    data = text.encode()
    room = DATAGRAM_MAX - HEAD_LEN
    parts = max(-(-len(data) // room), 1)
    if parts > PARTS_MAX:
        raise Inval(f"report: {len(data)} bytes: give at most {PARTS_MAX * room}")
    if pool.reserve.clsize < DATAGRAM_MAX:
        raise Inval("report: the reserve was never filled: call pool.reserve.reinit first")
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
    """A report."""

    #: The address that it came from.
    sender: Any
    #: The text, with a line in place of each missing part.
    text: str
    #: How many of its parts have not arrived.
    missing: int


class _Report:
    """A report that is being reassembled. `since` is when its first part arrived."""

    __slots__ = ("parts", "since")

    def __init__(self, count: int, since: float) -> None:
        self.parts: list[bytes | None] = [None] * count
        self.since = since

    @property
    def missing(self) -> int:
        return self.parts.count(None)

    def text(self) -> str:
        """The text, with a line in place of each missing part."""
        pieces = (b"\n[a part is missing]\n" if part is None else part for part in self.parts)
        return b"".join(pieces).decode(errors="replace")


class Collector:
    """Reassembles the reports that a UDP socket receives, in any order of their parts.

    Call `receive` when the socket is readable, `expire` now and then, and `flush` in the end. At most REPORTS_MAX
    reports are reassembled at once: if there are more, the oldest is returned with parts missing. `clock` returns
    seconds. Datagrams that are no part of a report are counted in `invalid`.
    """

    def __init__(self, pool: Pool, sock: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._sock = sock
        self._clock = clock
        self._partial: OrderedDict[tuple[Any, int], _Report] = OrderedDict()
        #: Datagrams that are no part of a report.
        self.invalid = 0
        #: Datagrams for which the pool had no mbuf.
        self.dropped = 0

    def receive(self) -> list[Received]:
        """Receive a datagram, into an mbuf; return the reports that it completes, and the oldest if there are too many.

        Blocks if the socket blocks and no datagram has arrived. Raises OSError.
        """
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
            self.invalid += 1
            return []
        number, part, parts = m.unpack(HEAD, len(MAGIC))
        key = (sender, number)
        report = self._partial.get(key)
        if not part < parts <= PARTS_MAX or (report is not None and len(report.parts) != parts):
            self.invalid += 1
            return []
        done = []
        if report is None:
            if len(self._partial) == REPORTS_MAX:
                done.append(self._end(next(iter(self._partial))))
            report = self._partial[key] = _Report(parts, self._clock())
        report.parts[part] = m.copydata(HEAD_LEN, clip(m.len - HEAD_LEN))
        if not report.missing:
            done.append(self._end(key))
        return done

    def expire(self) -> list[Received]:
        """Return the reports that still lack a part after TIMEOUT seconds."""
        now = self._clock()
        old = [key for key, report in self._partial.items() if now - report.since >= TIMEOUT]
        return [self._end(key) for key in old]

    def flush(self) -> list[Received]:
        """Return all reports that lack a part."""
        return [self._end(key) for key in list(self._partial)]

    def _end(self, key: tuple[Any, int]) -> Received:
        report = self._partial.pop(key)
        return Received(key[0], report.text(), report.missing)
