"""A socket as an interface with send tags: a packet that is stamped with a tag is sent at the rate of the tag.

    push  -->  transmit queue of the packet's tag  -->  PacedSender  -->  socket
               or the unpaced queue                     one packet at a time

Each tag has a transmit queue and a token bucket (`txqueue`, `tokenbucket`); packets without a tag, or with one of
`Unlimited()`, share a queue without a bucket. Queues have a maximum length, and `push` accepts no packet for a full
queue: that is back-pressure to one sender, and doesn't delay the others. The program calls `flush` when a packet may be
sent: it waits by `flush_next` or `aflush_next`, or with `due` and `blocked` in a loop of its own.

What keeps the rate. TCP can space segments in the kernel (SO_MAX_PACING_RATE, `maxpacing`), more evenly than a program
can, but one rate for the whole socket. So if all that is sent has one rate, the kernel keeps it: a single tag with a
rate, no tag without one, and no packet without a tag sent beside it. If that changes, the kernel's
limit is removed at once, and the token buckets keep the rates. They count in both cases, so a bucket always knows what
its tag has sent; while the kernel paces, packets are only passed to it 20 ms before their departure time (`_LEAD`), so
that TCP always has something to send, but little is in the kernel's buffer when a second tag is allocated.

Packets belong to this from `push` on until they are sent or dropped, and hold a reference to their tag. So a tag that
is released lives on until its last packet is sent. Not for several threads at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from time import monotonic_ns, sleep
from typing import TYPE_CHECKING

from mbuf.const import IF_SND_TAG_TYPE_UNLIMITED, M_PKTHDR
from mbuf.errors import Again, Inval, MbufError, NotSupported
from mbuf.net.link.offload import check_complete
from mbuf.net.pacing.maxpacing import MaxPacing
from mbuf.net.pacing.ratelimit import RateLimit, RateTag, Unlimited
from mbuf.net.pacing.sender import PacedSender, PaceStat
from mbuf.net.pacing.txqueue import TxQueue, TxQueues
from mbuf.net.port.rules import check_packet, check_ready, check_untagged
from mbuf.net.sockets import check_nonblocking, check_socket
from mbuf.net.writable import RETRY_DELAY, poll_writable, wait_writable
from mbuf.packet.sndtag import Interface, SndTag, SndTags

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf

#: Nanoseconds by which packets are sent before their departure time while the kernel keeps the rate.
_LEAD = 20_000_000


class PacedSocket(Interface):
    """An interface that sends through `sock`, a non-blocking socket, stream or datagram, that is connected.

    Get tags with `pool.snd_tag_alloc(paced, RateLimit(bytes_per_second))`, `stamp` packets, `push` them, and call
    `flush_next` or `aflush_next` in a loop. Up to `maxlen` packets wait for each tag, and as many in the unpaced queue.
    `clock` is a function that returns the time in nanoseconds. `close`, or the end of a `with` statement, frees the
    packets that wait; the socket belongs to the caller. Nothing is copied, except a datagram of more mbufs than
    IOV_MAX. Raises `Inval` if `sock` isn't a socket or is blocking, or `maxlen` is less than 1; `NotSupported` if it
    does TLS.
    """

    def __init__(self, sock: socket.socket, maxlen: int = 256, clock: Callable[[], int] = monotonic_ns) -> None:
        check_socket("PacedSocket", sock)
        check_nonblocking("PacedSocket", sock)
        if maxlen < 1:
            raise Inval(f"PacedSocket: maxlen {maxlen}: give 1 packet or more")
        super().__init__(f"socket {sock.fileno()}")
        #: The socket, which belongs to the caller.
        self.sock = sock
        #: True after `close`.
        self.closed = False
        self._maxlen = maxlen
        self._clock = clock
        # The tags with a rate, and the number of tags without one.
        self._limited: set[RateTag] = set()
        self._unlimited = 0
        self._max_pacing = MaxPacing(sock)
        # Packets without a rate were sent while a single tag had one.
        self._mixed = False
        self._queues = TxQueues(maxlen)
        self._sender = PacedSender(sock, self._queues)
        # The wait of the task that waits for the socket; others wait for this.
        self._writable: asyncio.Future[None] | None = None

    def __enter__(self) -> PacedSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Send tags.

    def snd_tag_alloc(self, tags: SndTags, params: object) -> SndTag:
        """Return a send tag for `RateLimit(...)` or `Unlimited()`; `pool.snd_tag_alloc` calls it. See if_snd_tag_alloc.

        The tag has one reference, which belongs to the caller. Raises `NotSupported` for other parameters, and after
        `close`.
        """
        if self.closed:
            raise NotSupported(f"{self!r} is closed, and has no more send tags")
        tag: SndTag
        if isinstance(params, RateLimit):
            tag = RateTag(tags, self, params, self._maxlen, self._clock())
            self._limited.add(tag)
        elif isinstance(params, Unlimited):
            tag = SndTag(tags, self, IF_SND_TAG_TYPE_UNLIMITED)
            self._unlimited += 1
        else:
            raise NotSupported(f"{params!r}: give RateLimit(bytes per second) or Unlimited()")
        self._update_pacing()
        return tag

    def snd_tag_modify(self, tag: RateTag, limit: RateLimit) -> None:
        """Change the rate of a tag; `tag.modify` calls it. See if_snd_tag_modify."""
        tag.bucket.set_rate(limit.max_rate, self._clock())
        self._queues.reorder()
        self._update_pacing()

    def snd_tag_free(self, tag: SndTag) -> None:
        """Forget a tag; its last `tag.rele` calls it. See if_snd_tag_free."""
        if isinstance(tag, RateTag):
            self._limited.discard(tag)
            self._mixed = self._mixed and bool(self._limited)
        else:
            self._unlimited -= 1
        self._update_pacing()

    @property
    def pacing(self) -> str:
        """What keeps the rates: "kernel" (SO_MAX_PACING_RATE) or "bucket" (token buckets); "none" if no tag has one."""
        if self._max_pacing.rate:
            return "kernel"
        return "bucket" if self._limited else "none"

    def _update_pacing(self) -> None:
        """Let the kernel keep the rate if all that is sent has one rate."""
        accepted = False
        if len(self._limited) == 1 and not self._unlimited and not self._mixed and not self.closed:
            (tag,) = self._limited
            accepted = self._max_pacing.set_rate(tag.max_rate)
        if not accepted:
            self._max_pacing.restore()
        self._queues.lead = _LEAD if accepted else 0

    def stamp(self, m: Mbuf, tag: SndTag) -> Mbuf:
        """Set the send tag of a packet, with a reference of its own, and return the packet. See ip_output.

        Raises `Again` for a tag of another interface: release it, and get one from this. Raises `Inval` if `m` has no
        packet header, or its rcvif is set, which is in the same place, or `tag` isn't a tag; and `Freed`.
        """
        if not isinstance(tag, SndTag):
            raise Inval(f"stamp: give a send tag, not a {type(tag).__name__}")
        hdr = m.pkthdr
        self._check_owner(tag)
        if hdr.rcvif is not None:
            raise Inval("stamp: pkthdr.rcvif is set, and a send tag takes its place: set it to None first")
        hdr.snd_tag = tag.ref()
        return m

    def _check_owner(self, tag: SndTag) -> None:
        if tag.ifp is not self:
            raise Again(f"the send tag is of {tag.ifp!r}, and the packet goes through {self!r}: get a tag from that")

    # Packets.

    def push(self, packets: Iterable[Mbuf]) -> int:
        """Queue packets, and send those that may be sent now; return how many were accepted, from the first on.

        Accepted packets belong to this; the others still belong to the caller. It stops at the first packet that has a
        full queue, so pass the packets of each tag in a list of their own.

        Raises `Again` for a packet with a tag of another interface; `Inval` for what isn't a packet, for bytes that
        aren't ready (M_NOTREADY), and after `close`; `OSError` or another error that has broken the stream. If some
        packets were accepted before, it returns their number instead.
        """
        now = self._clock()
        self._flush(now)
        accepted = 0
        try:
            for m in packets:
                # The iterable, or the free routine of the packet before, may have closed this.
                self._check_open()
                queue = self._queue_of(m)
                if queue.packets.full:
                    break
                self._queues.enqueue(queue, m)
                accepted += 1
                if not self._sender.in_flight:
                    self._flush(now)
        except (OSError, MbufError):
            if not accepted:
                raise
        return accepted

    def flush(self) -> int:
        """Send the packets that may be sent now; return how many were sent or dropped. Never waits.

        Raises `Inval` after `close`, and the error that has broken a stream, at every call.
        """
        return self._flush(self._clock())

    def flush_next(self, timeout: float | None = None) -> int:
        """Wait until a packet may be sent, and `flush`; return how many were sent or dropped, 0 if none is left.

        Raises `TimeoutError` if the socket accepts nothing for `timeout` seconds, and what `flush` raises.
        """
        waited = False
        while not (done := self.flush()) and self._sender.busy:
            if not self._sender.blocked:
                sleep(self._delay())
            elif waited:
                sleep(RETRY_DELAY)
            elif not poll_writable(self.sock, timeout):
                raise TimeoutError(f"the socket accepted nothing for {timeout} seconds")
            waited = self._sender.blocked and not waited
        return done

    async def aflush_next(self, timeout: float | None = None) -> int:
        """`flush_next` in an asyncio loop. Several tasks may call it."""
        waited = False
        while not (done := self.flush()) and self._sender.busy:
            if not self._sender.blocked:
                await asyncio.sleep(self._delay())
            elif waited:
                await asyncio.sleep(RETRY_DELAY)
            else:
                async with asyncio.timeout(timeout):
                    await self._wait_writable()
            waited = self._sender.blocked and not waited
        return done

    def close(self) -> None:
        """Free the packets that wait. The socket stays open, and a stream may end within a packet.

        Tags live on until they are released, but there are no new ones. Calling it again has no effect.
        """
        self.closed = True
        self._sender.drain()
        self._update_pacing()

    @property
    def queued(self) -> int:
        """The number of packets that wait."""
        return self._sender.queued

    @property
    def due(self) -> int | None:
        """When the next packet may be sent, in nanoseconds of the clock; None if none waits, or if `blocked`."""
        return self._sender.due(self._clock())

    @property
    def blocked(self) -> bool:
        """True while packets wait because the socket is full: call `flush` when it is writable."""
        return self._sender.blocked

    def stat(self) -> PaceStat:
        """Return the counters."""
        return self._sender.stat()

    def _queue_of(self, m: Mbuf) -> TxQueue:
        """Return the queue for a packet; raise an error if it can't be sent."""
        check_packet(m)
        check_ready("push", m)
        check_untagged(m)
        check_complete(m)
        tag = m.pkthdr.snd_tag if m.flags & M_PKTHDR else None
        if tag is not None:
            self._check_owner(tag)
        if isinstance(tag, RateTag):
            return tag.txqueue
        if self._max_pacing.rate:
            self._mixed = True
            self._update_pacing()
        return self._queues.unpaced

    def _check_open(self) -> None:
        if self.closed:
            raise Inval(f"{self!r} is closed")

    def _flush(self, now: int) -> int:
        self._check_open()
        return self._sender.flush(now)

    def _delay(self) -> float:
        """Return the seconds until the next packet may be sent."""
        return max((self.due or 0) - self._clock(), 0) / 1e9

    async def _wait_writable(self) -> None:
        """Wait until the socket is writable: the first task by the loop, the others by the first."""
        if self._writable is not None:
            await asyncio.shield(self._writable)
            return
        writable = self._writable = asyncio.get_running_loop().create_future()
        try:
            await wait_writable(self.sock)
        finally:
            self._writable = None
            writable.set_result(None)
