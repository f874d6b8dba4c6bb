"""A transport of asyncio for datagrams, which receives and sends them in batches through a port.

In: a `DatagramReader` pulls batches of datagrams, and a `Delivery` calls the protocol for each of them; then other
callbacks of the loop run. Bytes are copied out of the posted mbufs (`UdpPort.pull_bytes`), mbufs are handed out.

Out: `sendto` puts datagrams into an `Outbox`. The first that a callback of the loop sends is pushed to the port at
once, as asyncio does; the others together, at the end of the callback. After a callback that has sent several, the
first one of the next waits for the others, too. In `datagram_received` all are pushed together behind the batch.
`_corks` says why the outbox is corked:

    _CALLBACK     `_end_callback` is scheduled: this callback has sent something
    _DELIVERY     a batch is being delivered
    _SOCKET       the socket is full: the descriptor has a writer
    _POOL         the pool is empty: `_wait_task` waits for an mbuf, and all behind in the outbox waits too

`close` ends receiving; `connection_lost` is called when all is sent. Errors of the system go to `error_received`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import warnings
from asyncio.trsock import TransportSocket
from functools import partial
from typing import TYPE_CHECKING, Any

from mbuf.errors import MbufError
from mbuf.net.aio.addresses import Addresses
from mbuf.net.aio.delivery import Delivery
from mbuf.net.aio.dgramreader import DatagramReader
from mbuf.net.aio.lookup import find_peer
from mbuf.net.aio.outbox import Outbox
from mbuf.net.aio.refused import send_refused
from mbuf.net.linux import DATAGRAM_MAX
from mbuf.net.sockets import peer_name
from mbuf.net.udp.socketport import SocketPort
from mbuf.net.udp.udpport import UdpPort
from mbuf.net.watch import Watch
from mbuf.net.writable import RETRY_DELAY, set_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.net.udp.senderrors import SendError
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: No Unix socket sends a longer datagram: it must fit into the send buffer.
UNIX_MAX = 1 << 30

#: Bytes that wait to be sent above which `pause_writing` is called: as many as asyncio's default.
HIGH_WATER = 64 * 1024

#: Why what is sent waits: see above.
_CALLBACK, _DELIVERY, _SOCKET, _POOL = 1, 2, 4, 8


class UdpTransport(asyncio.DatagramTransport, asyncio.Transport):
    """The transport of a datagram endpoint. Get it from `create_datagram_endpoint`; let it go with `close` or `abort`.

    It has the methods and base classes of asyncio's own. If the protocol has `mbuf_received(m, addr)`,
    that gets each datagram as a packet, which belongs to it; else `datagram_received(data, addr)` gets bytes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: Pool,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        remote: Any,
        ready: asyncio.Future[None],
    ) -> None:
        mbufs = hasattr(protocol, "mbuf_received")
        # First, as it may raise: nothing is changed then.
        receiver = _receiver_of(protocol, mbufs)
        peername = peer_name(sock)
        super().__init__({"socket": TransportSocket(sock), "sockname": sock.getsockname(), "peername": peername})
        self._loop = loop
        self._to = remote if remote is not None and peername is None else None
        unix = sock.family == socket.AF_UNIX
        #: The port, which counts: see `PortStat`. It belongs to the transport. A Unix socket has a `SocketPort`.
        self.port: UdpPort | SocketPort
        if unix:
            self.port = SocketPort(pool, sock, on_error=self._send_failed)
        else:
            self.port = UdpPort(pool, sock, to=self._to, on_error=self._send_failed)
        self._sock: Any = sock
        self._pool = pool
        self._watch = Watch(loop, sock.fileno())
        # A Unix socket tells the sender of each datagram, also if it is connected; a sender may have no name.
        addresses = Addresses(None if unix else peername)
        self._delivery = Delivery(addresses, self._report)
        self._outbox = Outbox(
            pool,
            addresses,
            partial(find_peer, sock.family),
            remote is not None or peername is not None,
            remote,
            UNIX_MAX if unix else DATAGRAM_MAX,
            self._send,
        )
        #: The number of received datagrams that were freed because the transport was closed while they waited.
        self.discarded = 0
        # Waits for mbufs for datagrams to be sent.
        self._wait_task: asyncio.Task[None] | None = None
        self._started = False
        self._mbufs = mbufs
        self._reader = DatagramReader(
            *(loop, pool, self.port, self._watch, mbufs),
            wanted=self._may_read,
            deliver=self._deliver,
            fatal=self._fatal,
        )
        self._corks = 0
        # The last callback that sent something has sent several datagrams.
        self._burst = False
        self._writing_paused = False
        # `_ended`: `connection_lost` was called, or will be soon.
        self._closing = self._ended = False
        self.set_write_buffer_limits()
        self._protocol: Any = protocol
        self._delivery.deliver_to(receiver)
        loop.call_soon(protocol.connection_made, self)
        # Nothing is received before it was called.
        loop.call_soon(self._start)
        loop.call_soon(set_result, ready)

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "closing" if self._closing else "open"
        sockname, peername = self.get_extra_info("sockname"), self.get_extra_info("peername")
        return f"<UdpTransport {state} {sockname} peer={peername} queued={self._outbox.size}>"

    def __del__(self) -> None:
        if getattr(self, "_sock", None) is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)
            self._release()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give all that is received from now on to another protocol, of the same kind: with bytes, or with mbufs."""
        self._delivery.deliver_to(_receiver_of(protocol, self._mbufs))
        self._protocol = protocol

    # In.

    def is_reading(self) -> bool:
        """Return True if datagrams are received: not paused, not closing."""
        return not (self._delivery.paused or self._closing)

    def pause_reading(self) -> None:
        """Receive no datagrams until `resume_reading`; they wait in the system's buffer. Again has no effect."""
        self._delivery.paused = True
        self._reader.stop()

    def resume_reading(self) -> None:
        """Receive datagrams again."""
        if self._delivery.paused and not self._closing:
            self._delivery.paused = False
            # First what was received before the pause.
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self.is_reading():
            if self._delivery.waiting():
                self._deliver([])
            self._reader.start()

    def _may_read(self) -> bool:
        return self._started and self.is_reading()

    def _start(self) -> None:
        """Called after `connection_made`."""
        self._started = True
        self._reader.start()

    def _deliver(self, datagrams: list[Any]) -> None:
        """Deliver datagrams, then send together what the protocol has sent meanwhile."""
        self._corks |= _DELIVERY
        self._outbox.corked = True
        try:
            self._delivery.deliver(datagrams)
        finally:
            self._uncork(_DELIVERY)
            if self._delivery.waiting() and self.is_reading():
                # The loop reports what ends the program; after it, the rest is delivered.
                self._loop.call_soon(self._resume)

    # Out.

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send a datagram: bytes, or an mbuf with its chain, which belongs to the transport then, unless this raises.

        If a callback of the loop sends several, they are sent together at its end. A packet that has a `Peer` needs no
        `addr`. Bytes are copied. What the system refuses is told by `error_received`. After `close`,
        nothing is sent. Raises TypeError for what has no buffer, and without an address that is needed; ValueError for
        an address that isn't the one of the connected socket; OverflowError for a port above 65535.
        """
        try:
            self._outbox.put(data, addr)
        except OSError as error:
            self._outbox.dropped += 1
            self._error_received(error)
        if self._outbox.size > self._high:
            # Not because of what merely waits for the end of the callback.
            if not self._corks & _SOCKET:
                self._push()
            self._check_marks()

    @property
    def dropped(self) -> int:
        """Datagrams that weren't sent: after `close`, too long, or to an address that is unknown or forbidden.

        `port.stat().errors` counts those with other errors of the system.
        """
        return self._outbox.dropped

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the socket didn't accept, after sending what waited; 8 more for each datagram."""
        if not self._corks & _SOCKET:
            self._push()
        return self._outbox.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low-water and the high-water mark, in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks: above `high` bytes `pause_writing` is called, and `resume_writing` at `low` or fewer.

        The defaults are 64 KiB and a quarter of `high`. Raises ValueError unless `high` >= `low` >= 0.
        """
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._low, self._high = low, high
        self._check_marks()

    def _cork(self, reason: int) -> None:
        self._corks |= reason
        self._outbox.corked = True

    def _uncork(self, reason: int) -> None:
        """Take a reason away; send what waits if there is no other."""
        self._corks &= ~reason
        self._outbox.corked = self._corks != 0
        if not self._corks and self._outbox.size:
            self._push()

    def _send(self) -> None:
        """Called by the outbox for the first datagram of a callback, and for the last of a batch."""
        if not self._corks:
            self._cork(_CALLBACK)
            self._loop.call_soon(self._end_callback)
            if self._burst:
                # This callback will probably send several, too.
                return
        else:
            self._burst = True
        if not self._corks & _SOCKET:
            self._push()

    def _end_callback(self) -> None:
        """Called after a callback that has sent something."""
        waiting = len(self._outbox.packets)
        # One that was the first went at once, or waits here alone.
        self._burst = waiting > 1 or (waiting == 1 and not self._burst)
        self._uncork(_CALLBACK)

    def _push(self) -> None:
        """Push what waits to the port; what is left waits for the descriptor to be writable, or for mbufs."""
        outbox = self._outbox
        if self._ended:
            return
        try:
            self.port.push(outbox.packets)
        except (OSError, MbufError) as error:
            fatal = send_refused(self.port, outbox, error, self._send_alone, self._report, self._error_received)
            if fatal is not None:
                self._fatal(fatal)
        outbox.recount()
        if outbox.packets and not self._corks & _SOCKET:
            self._cork(_SOCKET)
            self._watch.add_writer(self._writable)
        if outbox.waiting and not self._corks & _POOL:
            self._cork(_POOL)
            self._wait_task = self._loop.create_task(self._wait_to_send())
            self._wait_task.add_done_callback(self._waited)
        if outbox.size > self._high or self._writing_paused:
            self._check_marks()
        if self._closing and not outbox.size:
            self._end(None)

    def _send_alone(self, m: Mbuf) -> None:
        """Send a packet without the port."""
        to = self._to if m.peer is None else m.peer.address
        if to is not None and self.get_extra_info("peername") is None:
            self._sock.sendto(bytes(m), to)
        else:
            self._sock.send(bytes(m))

    def _send_failed(self, error: SendError) -> None:
        """The system refused packets, or the network one that was sent before."""
        if error.packets or self.get_extra_info("peername") is not None:
            # A socket without a peer isn't told by the network, in asyncio. For the class of the error: OSError.
            for _ in range(max(error.packets, 1)):
                self._error_received(OSError(error.errno, os.strerror(error.errno or 0)))

    def _writable(self) -> None:
        before = len(self._outbox.packets)
        self._push()
        if self._ended:
            return
        left = len(self._outbox.packets)
        if left in (0, before):
            self._watch.remove_writer()
            if left:
                # The socket is writable, but the system has no memory to send: don't spin.
                self._loop.call_later(RETRY_DELAY, self._uncork, _SOCKET)
            else:
                self._uncork(_SOCKET)

    async def _wait_to_send(self) -> None:
        """Wait until the pool has mbufs for all datagrams that wait for one."""
        try:
            while not self._outbox.refill():
                if self._outbox.packets and not self._corks & _SOCKET:
                    # Those that are sent give their mbufs back.
                    self._push()
                (await self._pool.aget()).free()
        except MbufError as error:
            # The pool was closed.
            self._fatal(error)
        else:
            self._uncork(_POOL)

    def _waited(self, task: asyncio.Task[None]) -> None:
        """The task has ended."""
        if self._wait_task is task:
            self._wait_task = None
        if task.cancelled():
            # By the program, unless this transport has ended.
            self._loop.call_later(RETRY_DELAY, self._uncork, _POOL)

    def _check_marks(self) -> None:
        """Call `pause_writing` or `resume_writing` if a mark was passed."""
        if self._ended:
            return
        size = self._outbox.size
        if size > self._high and not self._writing_paused:
            self._writing_paused = True
            self._call(self._protocol.pause_writing)
        elif size <= self._low and self._writing_paused:
            self._writing_paused = False
            self._call(self._protocol.resume_writing)

    # The end.

    def is_closing(self) -> bool:
        """Return True after `close` or `abort`."""
        return self._closing

    def close(self) -> None:
        """Receive no more, send what waits, and then call `connection_lost(None)`. Again has no effect."""
        if not self._closing:
            self._stop()
            self._push()

    def abort(self) -> None:
        """Close at once: what waits to be sent is dropped. `connection_lost(None)` follows."""
        self._stop()
        self._end(None)

    def _stop(self) -> None:
        """Receive no more, and accept nothing to be sent."""
        self._closing = self._outbox.closed = True
        self._reader.close()
        self.discarded += self._delivery.discard()

    def _fatal(self, error: Exception) -> None:
        """Nothing can be received or sent any more."""
        self._stop()
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        """Drop what waits to be sent, and call `connection_lost` soon."""
        if self._ended:
            return
        self._ended = True
        self._outbox.drop_all()
        if self._wait_task is not None:
            self._wait_task.cancel()
        self._watch.remove_writer()
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._release()

    def _release(self) -> None:
        """Close the port and the socket, and drop what refers to this transport."""
        self._watch.close()
        self.port.close()
        self.discarded += self.port.stat().discarded
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._protocol = None
        self._delivery.disconnect()
        self._outbox.disconnect()
        self._reader.disconnect()

    # Errors.

    def _error_received(self, error: OSError) -> None:
        self._call(self._protocol.error_received, error)

    def _call(self, method: Any, *args: object) -> None:
        """Call a method of the protocol, and report what it raises."""
        try:
            method(*args)
        except Exception as error:  # reported as the loop reports what other callbacks raise
            self._report(error)

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {
                "message": "Exception in a callback of a datagram endpoint",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )


def _receiver_of(protocol: asyncio.BaseProtocol, mbufs: bool) -> Callable[[Any, Any], object]:
    """Return the method of a protocol that gets datagrams."""
    receiver: Callable[[Any, Any], object] = getattr(protocol, "mbuf_received" if mbufs else "datagram_received")
    return receiver
