"""A relay of streams: whoever connects here is connected there, and bytes go both ways.

However many connections there are, and however many stand still: what they hold is bounded, and those that move go
on. Accepts and connects; the bytes are for its flows.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from typing import TYPE_CHECKING

from mbuf.net.relay.pump import Pump
from mbuf.net.relay.quota import Quota
from mbuf.net.relay.stat import RelayStat
from mbuf.net.stream.streamport import StreamPort

if TYPE_CHECKING:
    from mbuf.net.address import Address
    from mbuf.pool.pool import Pool

#: Seconds after which it is tried again, where there were no descriptors, or the other side's queue was full.
AGAIN = 0.05

#: Errors of the program. Whatever else accept(2) says is of one client, or passes.
_HARD = frozenset({errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ENOTSOCK})

#: Bytes that the system takes to send later, of each connection. It would take megabytes, which nobody counts.
UNSENT = 1 << 17

#: Connections accepted before others get their turn.
_TURN = 64

_RESET = struct.pack("ii", 1, 0)


class StreamRelay:
    """Relays from a listening socket to an address: made in a loop of asyncio, and closed by `close`.

    The listening socket stays its owner's. At most `bound` bytes of memory are held, by at most `most` connections.
    """

    def __init__(
        self, pool: Pool, listener: socket.socket, dest: Address, bound: int, most: int, patience: float = 15.0
    ) -> None:
        self.pool = pool
        self.dest = dest
        self.refused = 0
        self.broken = 0
        self._listener = listener
        self._most = most
        self._pairs: set[Pair] = set()
        self._clients = 0
        # Reads and bytes of connections that are no more.
        self._gone = [0, 0]
        self._accepting = False
        self._loop = asyncio.get_running_loop()
        self.share = Quota(bound, patience, self._loop.call_later, self._loop.time)
        self._welcome()

    def stat(self) -> RelayStat:
        """All its numbers, at this moment."""
        reads, size = self._gone
        for pair in self._pairs:
            for flow in pair.flows:
                reads += flow.reads
                size += flow.bytes
        return RelayStat(
            packets=reads,
            bytes=size,
            denied=self.share.denied,
            dropped=0,
            clients=self._clients,
            open=len(self._pairs),
            refused=self.refused,
            broken=self.broken - self.share.cuts,
            cut=self.share.cuts,
        )

    def close(self) -> None:
        """Let go of everybody, and accept nobody any more."""
        self._most = 0
        self._rest()
        for pair in tuple(self._pairs):
            pair.end(None if pair.settled else ConnectionAbortedError())

    def _rest(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(_TURN):
            if len(self._pairs) >= self._most:
                self._rest()
                return
            try:
                client, server = self._both()
            except BlockingIOError:
                return
            except OSError as error:
                self._rest()
                if error.errno in _HARD:
                    raise
                self._loop.call_later(AGAIN, self._welcome)
                return
            self._clients += 1
            self._pairs.add(Pair(self, client, server))

    def _both(self) -> tuple[socket.socket, socket.socket]:
        """Accept; whoever is accepted can be connected, because there is a descriptor for that already."""
        server = self.dest.new_socket()
        try:
            client, _ = self._listener.accept()
        except BaseException:
            server.close()
            raise
        return client, server

    def _welcome(self) -> None:
        if len(self._pairs) < self._most and not self._accepting:
            self._accepting = True
            self._loop.add_reader(self._listener, self._accept)

    def left(self, pair: Pair) -> None:
        """A connection is no more."""
        for flow in pair.flows:
            self._gone[0] += flow.reads
            self._gone[1] += flow.bytes
        self._pairs.discard(pair)
        self._welcome()


class Pair:
    """A client, and its connection to the other side."""

    __slots__ = ("_client", "_loop", "_relay", "_server", "_waiting", "flows")

    def __init__(self, relay: StreamRelay, client: socket.socket, server: socket.socket) -> None:
        self._relay = relay
        self._client = client
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.TimerHandle | None = None
        self.flows: tuple[Pump, ...] = ()
        # Not at once: who made this doesn't know it yet.
        self._loop.call_soon(self._connect)

    @property
    def settled(self) -> bool:
        """True when nothing is on the way: so that what a side has got is not taken for all."""
        return not any(flow.sink.out for flow in self.flows)

    def _connect(self) -> None:
        if self._client.fileno() < 0:
            return
        found = self._server.connect_ex(self._relay.dest.sockaddr)
        if found == errno.EAGAIN:
            self._waiting = self._loop.call_later(AGAIN, self._connect)
        elif found not in (0, errno.EINPROGRESS):
            self._refuse()
        else:
            self._loop.add_writer(self._server, self._connected)

    def _connected(self) -> None:
        server = self._server
        self._loop.remove_writer(server)
        if server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._refuse()
            return
        for sock in (self._client, server):
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
                # Who vanishes without a word holds a place for ever, unless he is asked for one.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        pool, share = self._relay.pool, self._relay.share
        near, far = StreamPort(pool, self._client), StreamPort(pool, server)
        self.flows = (Pump(near, far, share, self._over), Pump(far, near, share, self._over))
        for flow in self.flows:
            flow.start()

    def _refuse(self) -> None:
        self._relay.refused += 1
        self.end(ConnectionRefusedError())

    def _over(self, error: OSError | None) -> None:
        """One direction is over; both are with an error."""
        if error is not None:
            self._relay.broken += 1
        if error is not None or all(flow.done for flow in self.flows):
            self.end(error)

    def end(self, error: OSError | None) -> None:
        """Close both sides, and after an error so that they know of it."""
        if self._client.fileno() < 0:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        for flow in self.flows:
            flow.stop()
        for sock in (self._client, self._server):
            self._loop.remove_writer(sock)
            if error is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
        self._relay.left(self)
        self.flows = ()
