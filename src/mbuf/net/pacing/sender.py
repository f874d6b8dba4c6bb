"""Sends the packets of transmit queues through a non-blocking socket, one after the other.

    TxQueues  --dequeue-->  packet in flight  --sent-->      its tokens are consumed, it is counted and freed
                                              --dropped-->   it is counted and freed

One packet is in flight. It stays there until it is sent as a whole or dropped, because on a stream no other packet may
come between its parts. So each packet is in a queue, in flight, sent, or counted in `drops`: none is lost. What a send
may end with:

    sent                      the queue's bucket gives tokens for its bytes; the next packet follows
    BlockingIOError           the socket is full: `blocked`; the packet stays until the socket is writable
    ENOBUFS, ENOMEM, EBUSY    of the kernel or the pool: the packet stays, and is sent again after 1 ms, because
                              poll(2) can't tell when there is memory
    another error, datagram   the packet is dropped: EMSGSIZE, for example, is about this packet alone
    another error, stream     the stream is broken: this and every later `flush` raises the error; the packets stay
                              until `drain`
    Inval, Freed              before its first byte, the packet is dropped: a file has become shorter, for example.
                              After it, the stream is broken, since the rest of the packet can't be sent
    KeyboardInterrupt, ...    the packet stays

A packet consumes tokens when it is sent, not when it is queued, so packets that are dropped consume none. A packet is
freed last, after the state is consistent, because its free routine may call the sender again.

There is no clock and no waiting: the caller passes the time, and waits for `due`, or until the socket is writable.
Send tags aren't known here.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass

from mbuf.errors import Freed, MbufError
from mbuf.fielddocs import documented
from mbuf.net.pacing.inflight import InFlight, is_transient, without_traceback
from mbuf.net.pacing.txqueue import TxQueues

#: Nanoseconds until a packet is sent again after an error for want of memory.
_RETRY_DELAY = 1_000_000


@documented
@dataclass(frozen=True, slots=True)
class PaceStat:
    """The counters of a paced socket."""

    #: The number of packets sent.
    sent: int
    #: Bytes of those packets.
    bytes: int
    #: The number of packets freed without being sent, because of an error, or because the socket was closed.
    drops: int
    #: The number of packets that wait.
    queued: int
    #: The last error for which a packet was dropped, or which broke the stream; None if there was none.
    last_error: OSError | MbufError | None


class PacedSender:
    """Sends the packets of `queues` through `sock`. Call `flush` whenever a packet may be sent."""

    __slots__ = (
        "_broken",
        "_bytes",
        "_drops",
        "_last_error",
        "_packet",
        "_queues",
        "_retry_at",
        "_sent",
        "_sock",
        "_stream",
        "blocked",
    )

    def __init__(self, sock: socket.socket, queues: TxQueues) -> None:
        self._sock = sock
        self._stream = sock.type == socket.SOCK_STREAM
        self._queues = queues
        # The packet in flight.
        self._packet: InFlight | None = None
        #: True if the packet in flight waits until the socket is writable.
        self.blocked = False
        # Otherwise, when to send it again.
        self._retry_at: int | None = None
        # The stream is broken, by the last error.
        self._broken = False
        self._last_error: OSError | MbufError | None = None
        self._sent = 0
        self._bytes = 0
        self._drops = 0

    @property
    def in_flight(self) -> bool:
        """True while a packet is in flight, so that no other can be sent."""
        return self._packet is not None

    @property
    def busy(self) -> bool:
        """True while there are packets, in queues or in flight."""
        return self._packet is not None or bool(self._queues)

    @property
    def queued(self) -> int:
        """The number of packets, in queues and in flight."""
        return len(self._queues) + (self._packet is not None)

    def due(self, now: int) -> int | None:
        """Return when to call `flush`, in nanoseconds; None if there is no packet, or one waits for the socket."""
        if self.blocked:
            return None
        return self._queues.due(now) if self._packet is None else self._retry_at

    def stat(self) -> PaceStat:
        """Return the counters."""
        return PaceStat(self._sent, self._bytes, self._drops, self.queued, self._last_error)

    def flush(self, now: int) -> int:
        """Send the packets that may be sent now; return how many were sent or dropped. Raises what broke the stream."""
        if self._broken and self._last_error is not None:
            raise without_traceback(self._last_error)
        done = 0
        self.blocked, self._retry_at = False, None
        while (packet := self._next(now)) is not None and self._send(packet, now):
            done += 1
        return done

    def drain(self) -> None:
        """Free all packets, and count them as drops."""
        if self._packet is not None:
            self._drop(self._packet)
        self._drops += self._queues.drain()
        self.blocked = False

    def _next(self, now: int) -> InFlight | None:
        """Return the packet in flight, after taking one from the queues if there is none."""
        if self._packet is None:
            found = self._queues.dequeue(now)
            self._packet = None if found is None else InFlight(*found, self._stream)
        return self._packet

    def _send(self, packet: InFlight, now: int) -> bool:
        """Send the packet in flight; False if it stays in flight."""
        try:
            packet.send(self._sock)
        except BlockingIOError:
            self.blocked = True
            return False
        except (OSError, MbufError) as error:
            if is_transient(error):
                self._retry_at = now + _RETRY_DELAY
                return False
            self._last_error = without_traceback(error)
            if packet.stream and (packet.partly_sent or isinstance(error, OSError)):
                self._broken = True
                raise
            self._drop(packet)
            return True
        self._count_sent(packet, now)
        self._complete(packet)
        return True

    def _count_sent(self, packet: InFlight, now: int) -> None:
        """Count a packet, and consume its tokens."""
        queue = packet.queue
        queue.sent += 1
        queue.bytes += packet.size
        self._sent += 1
        self._bytes += packet.size
        if queue.bucket is not None:
            queue.bucket.consume(packet.size, now)

    def _drop(self, packet: InFlight) -> None:
        self._drops += 1
        self._complete(packet)

    def _complete(self, packet: InFlight) -> None:
        """End the flight of a packet, and free it, last of all: a free routine of the program may be called."""
        self._packet = None
        self._queues.complete(packet.queue)
        # The program may have freed it, although it belonged to the sender.
        with suppress(Freed):
            packet.m.freem()
