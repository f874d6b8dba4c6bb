"""One message to many stream connections, without waiting for those whose peers read slowly.

For each connection, `send` takes the first of these ways that is possible:

    nothing waits to be sent        the bytes are given to the socket at once, from where they are: one system call
    the write buffer isn't full     they are appended to it: more than 512 bytes by reference, as `m.copym` does; fewer
                                    are copied, into a cluster together with others that wait
    it is full                      the message is dropped for this connection, and counted; or the connection is
                                    aborted

A write buffer is full at its `hiwat`, or when it holds more memory than the quota of the pool allows
(`mbuf.net.quota`). The quota of each stalled connection shrinks as their number grows, so the others always find mbufs.
A message is sent as a whole or not at all: of what the socket has accepted in part, the rest follows.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import MCLBYTES
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.net.aio.connection import Connection
from mbuf.net.aio.protocol import MbufProtocol
from mbuf.net.aio.writer import StreamWriter
from mbuf.net.linux import IOV_MAX
from mbuf.net.stream.streamport import BATCH_BYTES
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.read import views_of
from mbuf.vm.buffer_export import export_buffer
from mbuf.vm.ints import kind_of

if not cython.compiled:
    from mbuf.net.stream.send import send_now

#: Up to so many bytes are copied into the write buffer. See `SockBuf.append`.
_COPIED = MCLBYTES // 4


@cython.cclass
class Broadcast:
    """Sends messages to all connections that were added: `StreamWriter` or `MbufProtocol` objects.

    `slow` says what happens to a message for a connection whose write buffer is full: with "drop" it is dropped for
    this connection, and counted; with "abort" the connection is aborted, and counted. A connection that is closed or
    lost is removed with the next message. Messages keep their order in each connection. All connections have the same
    event loop. Raises `Inval` for another `slow`.
    """

    __slots__ = ("_abort", "_dropped", "aborted", "dropped")

    def __init__(self, slow: str = "drop") -> None:
        if slow not in ("drop", "abort"):
            raise Inval(f'slow {slow!r}: give "drop" or "abort"')
        self._abort = slow == "abort"
        # How many messages were dropped for each connection.
        self._dropped: dict[MbufProtocol, int] = {}
        #: Messages that were dropped, of all connections.
        self.dropped = 0
        #: Connections that were aborted.
        self.aborted = 0

    def add(self, connection: MbufProtocol | StreamWriter) -> None:
        """Send further messages to this connection, too. Adding it again has no effect."""
        self._dropped.setdefault(_protocol_of(connection), 0)

    def discard(self, connection: MbufProtocol | StreamWriter) -> None:
        """Send this connection nothing from now on."""
        self._dropped.pop(_protocol_of(connection), None)

    def __len__(self) -> int:
        return len(self._dropped)

    def __contains__(self, connection: MbufProtocol | StreamWriter) -> bool:
        return _protocol_of(connection) in self._dropped

    def __iter__(self) -> Iterator[MbufProtocol]:
        return iter(tuple(self._dropped))

    def dropped_for(self, connection: MbufProtocol | StreamWriter) -> int:
        """Return how many messages were dropped for this connection since it was added; 0 if it wasn't added."""
        return self._dropped.get(_protocol_of(connection), 0)

    def send(self, m: Mbuf) -> int:
        """Send a chain to all connections; return how many get it. It belongs to this method, and is freed.

        For bytes, send `pool.frombytes(data)`. Never waits, and never raises for want of mbufs: a message that a
        connection can't hold is dropped for it. Raises `Inval` if bytes of the chain aren't ready, `Freed`, and
        TypeError for what is no chain; it still belongs to the caller then.
        """
        if not isinstance(m, Mbuf):
            raise TypeError(f"send: give a chain, such as pool.frombytes(data), not {kind_of(m)}")
        size = len(m)
        views = views_of(m, IOV_MAX, BATCH_BYTES)
        whole = len(views) == 1 and size == len(views[0])
        export = export_buffer(views[0]) if whole else None
        got = 0
        gone = []
        try:
            for one in tuple(self._dropped):
                connection: Connection = one
                transport = connection.transport
                if connection._is_idle():
                    got += 1
                    sent = send_now(connection._fd, export) if export is not None else _send_views(one, views)
                    if sent < size:
                        self._append_rest(one, m, sent)
                elif (
                    transport is None or connection._close_pending or connection._eof_pending or transport.is_closing()
                ):
                    gone.append(one)
                else:
                    got += self._append(one, m, size)
        finally:
            if export is not None:
                export.release()
            views.clear()
            m.freem()
        for one in gone:
            self._dropped.pop(one, None)
        return got

    def _append(self, protocol: MbufProtocol, m: Mbuf, size: int) -> bool:
        """Append a message to what waits in a connection, unless that is too much."""
        if not protocol.write_buffer.full and not protocol.starved:
            try:
                _write(protocol, _copy(protocol, m, 0, size))
            except (NoBufs, NoMemory):
                pass
            else:
                return True
        if self._abort:
            self.aborted += 1
            self._dropped.pop(protocol, None)
            protocol.abort()
        else:
            self.dropped += 1
            if protocol in self._dropped:
                self._dropped[protocol] += 1
        return False

    def _append_rest(self, protocol: MbufProtocol, m: Mbuf, at: int) -> None:
        """Send the rest of a message that the socket has accepted in part."""
        try:
            _write(protocol, _copy(protocol, m, at, len(m) - at))
        except (NoBufs, NoMemory):
            # The transport keeps a copy: at most one message, since the connection isn't idle then.
            transport = protocol.transport
            if transport is not None and not transport.is_closing():
                transport.write(m.copydata(at, len(m) - at))


def _write(protocol: MbufProtocol, m: Mbuf) -> None:
    """Write to a connection. What its `pause` raises is reported: the others get the message all the same."""
    try:
        protocol.write(m)
    except (NoBufs, NoMemory):
        raise
    except Exception as error:  # reported as the loop reports what other callbacks raise
        context = {"message": "exception in a callback of a connection", "exception": error, "protocol": protocol}
        asyncio.get_running_loop().call_exception_handler(context)


def _send_views(protocol: MbufProtocol, views: list[Any]) -> int:
    """Send several pieces with one call; return how many bytes the socket has accepted."""
    try:
        return os.writev(protocol._fd, views)
    except OSError:
        # The socket is full; or it has an error, which the transport meets too.
        return 0


def _protocol_of(connection: MbufProtocol | StreamWriter) -> MbufProtocol:
    """Return the protocol of a connection."""
    found = connection.protocol if isinstance(connection, StreamWriter) else connection
    if not isinstance(found, MbufProtocol):
        raise TypeError(
            "Broadcast: give a writer of mbuf.net.aio.start_server or open_connection, or an MbufProtocol, not "
            f"{connection!r}"
        )
    return found


def _copy(protocol: MbufProtocol, m: Mbuf, at: int, size: int) -> Mbuf:
    """Return a chain of `size` bytes from byte `at` on: a copy if they are few, else one that shares their storage."""
    if size <= _COPIED:
        # A cluster, not a small mbuf: what follows is copied into its room.
        return protocol.pool.getcl(flags=0).append(m.copydata(at, size))
    copy = m.copym(at, size)
    assert copy is not None
    return copy
