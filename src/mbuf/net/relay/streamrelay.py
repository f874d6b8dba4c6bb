"""A relay of byte streams: connects each client that it accepts to one destination, and moves bytes both ways.

Accepts and connects; a `StreamSession` has the two sockets of a client, and a `Pump` for each direction. A `Quota`
bounds the memory of all pumps together, so that stalled connections can't take it from those that make progress.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from typing import TYPE_CHECKING

from mbuf.net.linux import FATAL
from mbuf.net.quota import Quota
from mbuf.net.relay.pump import Pump
from mbuf.net.relay.stat import RelayStat
from mbuf.net.stream.streamport import StreamPort
from mbuf.net.watch import Watch

if TYPE_CHECKING:
    from mbuf.net.address import Address
    from mbuf.pool.pool import Pool

#: Seconds until accepting is tried again (if there was no descriptor), or connecting (if a Unix backlog was full).
RETRY_DELAY = 0.05

#: Errors of accept(2) that are errors of the program. All others concern one client, or pass: EOPNOTSUPP, too, is among
#: the errors of a new connection that accept(2) returns.
_FATAL = (FATAL - {errno.EOPNOTSUPP}) | {errno.EINVAL}

#: Unsent bytes that the kernel buffers for each TCP connection: its default is megabytes, which no limit here counts.
MAX_UNSENT = 1 << 17

#: Connections accepted before the event loop runs other callbacks.
_ACCEPT_BATCH = 64

#: SO_LINGER with a time of 0: closing the socket resets the connection. See socket(7).
_LINGER_RESET = struct.pack("ii", 1, 0)


class StreamRelay:
    """Relays TCP or Unix stream connections from a listening socket to an address.

    Make one in a running event loop: it accepts from then on, until `close`. `listener` is a non-blocking listening
    socket (`Address.listen`) and stays its owner's; `dest` is the address to connect each client to. All connections
    together hold at most `memory` bytes of the pool's memory, and there are at most `max_clients` of them: more clients
    wait in the listener's backlog. A connection that has bytes to send, and has sent none for `timeout` seconds, is
    aborted if others wait for memory. Only small pieces are copied (`SockBuf.append`). If one socket of a client fails,
    the connection of the other is reset, so that its peer knows that bytes are missing.
    """

    def __init__(
        self,
        pool: Pool,
        listener: socket.socket,
        dest: Address,
        memory: int,
        max_clients: int,
        timeout: float = 15.0,
    ) -> None:
        #: The pool that all mbufs come from.
        self.pool = pool
        #: The address that each client is connected to.
        self.dest = dest
        #: See `RelayStat.refused`.
        self.refused = 0
        #: See `RelayStat.failed`; this includes the aborted connections.
        self.failed = 0
        self._listener = listener
        self._max_clients = max_clients
        self._sessions: set[StreamSession] = set()
        self._clients = 0
        # Reads and bytes of sessions that have ended.
        self._reads = 0
        self._bytes = 0
        self._accepting = False
        self._loop = asyncio.get_running_loop()
        # The owner of the listener may close it.
        self._watch = Watch(self._loop, listener.fileno())
        #: Divides the memory between the connections.
        self.quota = Quota(memory, timeout, self._loop.call_later, self._loop.time)
        self._start_accepting()

    def stat(self) -> RelayStat:
        """Return all counters, as they are now."""
        reads, size = self._reads, self._bytes
        for session in self._sessions:
            for pump in session.pumps:
                reads += pump.reads
                size += pump.bytes
        return RelayStat(
            packets=reads,
            bytes=size,
            denied=self.quota.denials,
            dropped=0,
            clients=self._clients,
            open=len(self._sessions),
            refused=self.refused,
            failed=self.failed - self.quota.aborts,
            aborted=self.quota.aborts,
        )

    def close(self) -> None:
        """Stop accepting, and close all connections; those with unsent bytes are reset. The listener stays open."""
        self._max_clients = 0
        self._watch.close()
        for session in tuple(self._sessions):
            session.close(None if session.drained else ConnectionAbortedError())

    def _start_accepting(self) -> None:
        if len(self._sessions) < self._max_clients and not self._accepting:
            self._accepting = True
            self._watch.add_reader(self._accept)

    def _stop_accepting(self) -> None:
        self._accepting = False
        self._watch.remove_reader()

    def _accept(self) -> None:
        for _ in range(_ACCEPT_BATCH):
            if len(self._sessions) >= self._max_clients:
                self._stop_accepting()
                return
            try:
                client, server = self._accept_one()
            except BlockingIOError:
                return
            except OSError as error:
                self._stop_accepting()
                if error.errno in _FATAL:
                    raise
                self._loop.call_later(RETRY_DELAY, self._start_accepting)
                return
            self._clients += 1
            self._sessions.add(StreamSession(self, client, server))

    def _accept_one(self) -> tuple[socket.socket, socket.socket]:
        """Return a client's socket, and one to connect to the destination.

        The latter is made first: without a descriptor for it the client would be accepted only to be refused.
        """
        server = self.dest.new_socket()
        try:
            client, _ = self._listener.accept()
        except BaseException:
            server.close()
            raise
        return client, server

    def forget(self, session: StreamSession) -> None:
        """Remove a session that has ended, and accept another client."""
        for pump in session.pumps:
            self._reads += pump.reads
            self._bytes += pump.bytes
        self._sessions.discard(session)
        self._start_accepting()


class StreamSession:
    """The two sockets of a client, to the client and to the destination, and a pump for each direction.

    `pumps` is empty until the destination is connected, and after `close`.
    """

    __slots__ = ("_client", "_loop", "_relay", "_retry", "_server", "pumps")

    def __init__(self, relay: StreamRelay, client: socket.socket, server: socket.socket) -> None:
        self._relay = relay
        self._client = client
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self.pumps: tuple[Pump, ...] = ()
        # Not at once: if it fails, it calls `forget`, and the relay must have the session by then.
        self._loop.call_soon(self._connect)

    @property
    def drained(self) -> bool:
        """True if all bytes that were read are sent."""
        return not any(pump.sink.write_buffer for pump in self.pumps)

    def _connect(self) -> None:
        if self._client.fileno() < 0:
            return
        code = self._server.connect_ex(self._relay.dest.sockaddr)
        if code == errno.EAGAIN:
            self._retry = self._loop.call_later(RETRY_DELAY, self._connect)
        elif code not in (0, errno.EINPROGRESS):
            self._connect_failed()
        else:
            self._loop.add_writer(self._server, self._connected)

    def _connected(self) -> None:
        server = self._server
        self._loop.remove_writer(server)
        if server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._connect_failed()
            return
        for sock in (self._client, server):
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)
                # Finds connections whose peer disappeared without closing them; they would count as clients for ever.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        pool, quota = self._relay.pool, self._relay.quota
        near, far = StreamPort(pool, self._client), StreamPort(pool, server)
        self.pumps = (Pump(near, far, quota, self._pump_ended), Pump(far, near, quota, self._pump_ended))
        for pump in self.pumps:
            pump.resume()

    def _connect_failed(self) -> None:
        self._relay.refused += 1
        self.close(ConnectionRefusedError())

    def _pump_ended(self, error: OSError | None) -> None:
        """End the session if both directions have ended, or one has failed."""
        if error is not None:
            self._relay.failed += 1
        if error is not None or all(pump.done for pump in self.pumps):
            self.close(error)

    def close(self, error: OSError | None) -> None:
        """Close both sockets; with an error, reset their connections. Calling it again has no effect."""
        if self._client.fileno() < 0:
            return
        if self._retry is not None:
            self._retry.cancel()
        for pump in self.pumps:
            pump.stop()
        for sock in (self._client, self._server):
            self._loop.remove_writer(sock)
            if error is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            sock.close()
        self._relay.forget(self)
        self.pumps = ()
