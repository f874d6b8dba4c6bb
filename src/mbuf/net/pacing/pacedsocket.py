"""A socket as an interface with send tags: what is stamped with a tag goes at the tag's rate.

Each tag's packets wait in a line of their own, which has an end; the rest go as soon as they can. Owns what it
was given, until that has gone. A tag that is alone leaves the pace to the kernel, where the kernel keeps one.
Not for several threads at once.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Iterable
from time import monotonic_ns, sleep

from mbuf.const import IF_SND_TAG_TYPE_UNLIMITED, M_PKTHDR
from mbuf.errors import Again, Inval, MbufError, NotSupported
from mbuf.net.pacing.inflight import check, ready
from mbuf.net.pacing.maxpacing import MaxPacing
from mbuf.net.pacing.ratelimit import RateLimit, RateTag, Unlimited
from mbuf.net.pacing.sender import PacedSender, PaceStat
from mbuf.net.pacing.txqueue import TxQueue, TxQueues
from mbuf.net.sockets import wait_writable
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.sndtag import Interface, SndTag, SndTags

#: Nanoseconds by which packets are ahead of their rate in the kernel's hands while that keeps the pace.
_AHEAD = 20_000_000


class PacedSocket(Interface):
    """An interface that sends through a socket that doesn't block: `pool.snd_tag_alloc(paced, RateLimit(...))`.

    `stamp` packets with tags and `push` them; then `turn`, in a loop, or whatever waits until `due` and has `flush`
    called. `maxlen` packets wait for each tag at most, and as many of those that need no tokens. `clock` gives
    nanoseconds. Close it, or use `with`: the socket stays the caller's, what waits is freed then.
    """

    def __init__(self, sock: socket.socket, maxlen: int = 256, clock: Callable[[], int] = monotonic_ns) -> None:
        check(sock)
        if maxlen < 1:
            raise Inval(f"maxlen {maxlen}: give 1 packet or more")
        super().__init__(f"socket {sock.fileno()}")
        self.sock = sock
        self.closed = False
        self._maxlen = maxlen
        self._clock = clock
        self._limited: set[RateTag] = set()
        self._unlimited = 0
        self._pacing = MaxPacing(sock)
        #: True once packets that need no tokens went beside those of the tag that was alone.
        self._mixed = False
        self._lines = TxQueues(maxlen)
        self._sender = PacedSender(sock, self._lines)
        self._room: asyncio.Future[None] | None = None

    def __enter__(self) -> PacedSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Send tags.

    def snd_tag_alloc(self, tags: SndTags, params: object) -> SndTag:
        """See if_snd_tag_alloc. `pool.snd_tag_alloc` calls it."""
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
            raise NotSupported(f"{params!r}: a socket has tags of RateLimit(bytes a second) and Unlimited()")
        self._govern()
        return tag

    def snd_tag_modify(self, tag: RateTag, limit: RateLimit) -> None:
        """See if_snd_tag_modify. `tag.modify` calls it."""
        tag.tokens.modify(limit.max_rate, self._clock())
        self._lines.again()
        self._govern()

    def snd_tag_free(self, tag: SndTag) -> None:
        """See if_snd_tag_free. The last `tag.rele` calls it."""
        if isinstance(tag, RateTag):
            self._limited.discard(tag)
            self._mixed = self._mixed and bool(self._limited)
        else:
            self._unlimited -= 1
        self._govern()

    @property
    def how(self) -> str:
        """Who keeps the pace: `kernel` (SO_MAX_PACING_RATE), `bucket` (this), or `none` where no tag asks for one."""
        if self._pacing.rate:
            return "kernel"
        return "bucket" if self._limited else "none"

    def _govern(self) -> None:
        """Leave the pace to the kernel if all that goes has one rate."""
        kept = False
        if len(self._limited) == 1 and not self._unlimited and not self._mixed and not self.closed:
            (tag,) = self._limited
            kept = self._pacing.limit(tag.max_rate)
        if not kept:
            self._pacing.lift()
        self._lines.ahead = _AHEAD if kept else 0

    def stamp(self, m: Mbuf, tag: SndTag) -> Mbuf:
        """Have a packet go by a send tag of this interface: it gets a reference of its own. See ip_output.

        `Again` for a tag of another interface: release that, and get one from this. `Inval` for a packet that
        was received, as long as its rcvif says so.
        """
        if not isinstance(tag, SndTag):
            raise Inval(f"stamp: give a send tag, not a {type(tag).__name__}")
        hdr = m.pkthdr
        self._own(tag)
        if hdr.rcvif is not None:
            raise Inval("stamp: a send tag would take the place of pkthdr.rcvif: set that to None first")
        hdr.snd_tag = tag.ref()
        return m

    def _own(self, tag: SndTag) -> None:
        if tag.ifp is not self:
            raise Again(f"the send tag is of {tag.ifp!r}, and the packet goes through {self!r}: get a tag from that")

    # Packets.

    def push(self, packets: Iterable[Mbuf]) -> int:
        """Take packets over, and send what may go now; returns how many were taken, the rest stay the caller's.

        It takes none after the first whose line is full: so that a slow tag doesn't hold up others, give each
        tag's packets in a list of their own. Raises `Again` for a packet with the tag of another interface, `Inval`
        for one that can't be sent, and what has ended a stream: all of that only if none was taken.
        """
        now = self._clock()
        self._pump(now)
        taken = 0
        try:
            for m in packets:
                line = self._line(m)
                if line.queue.full:
                    break
                self._lines.put(line, m)
                taken += 1
                if not self._sender.stuck:
                    self._pump(now)
        except (OSError, MbufError):
            if not taken:
                raise
        return taken

    def flush(self) -> int:
        """Send what may go now; returns how many packets are gone, sent or dropped. Raises what ended a stream."""
        return self._pump(self._clock())

    def turn(self, patience: float | None = None) -> int:
        """Wait until a packet may go, and `flush`; 0 when none waits.

        `TimeoutError` if the socket takes nothing for so many seconds.
        """
        while not (gone := self.flush()) and self._sender.busy:
            if self._sender.blocked:
                poll = select.poll()
                poll.register(self.sock, select.POLLOUT)
                if not poll.poll(None if patience is None else patience * 1000):
                    raise TimeoutError(f"the socket took nothing for {patience} seconds")
            else:
                sleep(self._delay())
        return gone

    async def aturn(self, patience: float | None = None) -> int:
        """`turn`, in an asyncio loop; any number of tasks may. Nobody else may wait to write to the socket."""
        while not (gone := self.flush()) and self._sender.busy:
            if self._sender.blocked:
                async with asyncio.timeout(patience):
                    await self._writable()
            else:
                await asyncio.sleep(self._delay())
        return gone

    def close(self) -> None:
        """Free what waits, and leave the socket to the caller; a stream may end within a packet.

        Tags live on until they are released; there are no new ones.
        """
        if self.closed:
            return
        self.closed = True
        self._sender.drain()
        self._govern()

    @property
    def queued(self) -> int:
        """How many packets wait."""
        return self._sender.queued

    @property
    def due(self) -> int | None:
        """When the next packet may go, by the clock; None if that isn't for the clock to say.

        Then none waits, or the socket takes no more for now: see `blocked`.
        """
        return self._sender.due(self._clock())

    @property
    def blocked(self) -> bool:
        """True while packets wait for the socket, which took no more: `flush` when it can be written to."""
        return self._sender.blocked

    def stat(self) -> PaceStat:
        """What became of the packets."""
        return self._sender.stat()

    def _line(self, m: Mbuf) -> TxQueue:
        """The line that a packet goes into."""
        if not isinstance(m, Mbuf):
            raise Inval(f"push: give packets, not a {type(m).__name__}")
        ready(m)
        tag = m.pkthdr.snd_tag if m.flags & M_PKTHDR else None
        if tag is not None:
            self._own(tag)
        if isinstance(tag, RateTag):
            return tag.line
        if self._pacing.rate:
            self._mixed = True
            self._govern()
        return self._lines.free

    def _pump(self, now: int) -> int:
        if self.closed:
            raise Inval(f"{self!r} is closed")
        return self._sender.pump(now)

    def _delay(self) -> float:
        """Seconds until the next packet may go."""
        return max((self.due or 0) - self._clock(), 0) / 1e9

    async def _writable(self) -> None:
        """Wait until the socket takes more: one task by the loop, others by that one."""
        if self._room is not None:
            await asyncio.shield(self._room)
            return
        room = self._room = asyncio.get_running_loop().create_future()
        try:
            await wait_writable(self.sock)
        finally:
            self._room = None
            room.set_result(None)
