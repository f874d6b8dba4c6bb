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

from mbuf.errors import Freed, MbufError
from mbuf.net.aio.addresses import Addresses
from mbuf.net.aio.delivery import Delivery
from mbuf.net.aio.dgramreader import DatagramReader
from mbuf.net.aio.lookup import find_peer
from mbuf.net.aio.outbox import Outbox
from mbuf.net.linux import DATAGRAM_MAX
from mbuf.net.udp.udpport import UdpPort
from mbuf.net.writable import set_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.net.udp.senderrors import SendError
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Bytes that wait to be sent above which `pause_writing` is called: as many as asyncio's default.
HIGH_WATER = 64 * 1024

#: Seconds until the next try, if the system had no memory to send although the socket is writable.
RETRY_DELAY = 0.005

#: Why what is sent waits: see above.
_CALLBACK, _DELIVERY, _SOCKET, _POOL = 1, 2, 4, 8


class UdpTransport(asyncio.DatagramTransport):
    """The transport of a UDP endpoint. Get it from `create_datagram_endpoint`; let it go with `close` or `abort`.

    It has all methods of asyncio's own datagram transports. If the protocol has a method `mbuf_received(m, addr)`, that
    gets each datagram as a packet, which belongs to it; else `datagram_received(data, addr)` gets bytes.
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
        peername = _name(sock.getpeername)
        super().__init__({"socket": TransportSocket(sock), "sockname": _name(sock.getsockname), "peername": peername})
        self._loop = loop
        to = remote if remote is not None and peername is None else None
        #: The port, which counts: see `PortStat`. It belongs to the transport.
        self.port = UdpPort(pool, sock, to=to, on_error=self._send_failed)
        self._sock: Any = sock
        self._pool = pool
        self._fd = sock.fileno()
        addresses = Addresses(peername)
        self._delivery = Delivery(addresses, self._report)
        self._outbox = Outbox(
            pool,
            addresses,
            partial(find_peer, sock.family),
            remote is not None or peername is not None,
            remote,
            DATAGRAM_MAX,
            self._send,
        )
        #: The number of received datagrams that were freed because the transport was closed while they waited.
        self.discarded = 0
        # Waits for mbufs for datagrams to be sent.
        self._wait_task: asyncio.Task[None] | None = None
        self._started = False
        self._mbufs = hasattr(protocol, "mbuf_received")
        self._reader = DatagramReader(loop, pool, self.port, self._mbufs, self._may_read, self._deliver, self._fatal)
        self._corks = 0
        # The last callback that sent something has sent several datagrams.
        self._burst = False
        self._writing_paused = False
        # `_ended`: `connection_lost` was called, or will be soon.
        self._closing = self._ended = False
        self.set_write_buffer_limits()
        self.set_protocol(protocol)
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
        receiver = getattr(protocol, "mbuf_received" if self._mbufs else "datagram_received")
        self._protocol: Any = protocol
        self._delivery.deliver_to(receiver)

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
        try:
            self.port.push(outbox.packets)
        except (OSError, MbufError) as error:
            self._refused(error)
        outbox.recount()
        if outbox.packets and not self._corks & _SOCKET:
            self._cork(_SOCKET)
            self._loop.add_writer(self._fd, self._writable)
        if outbox.waiting and not self._corks & _POOL:
            self._cork(_POOL)
            self._wait_task = self._loop.create_task(self._wait_to_send())
        if outbox.size > self._high or self._writing_paused:
            self._check_marks()
        if self._closing and not outbox.size:
            self._end(None)

    def _refused(self, error: Exception) -> None:
        """The port has raised an error: because of a packet, or because it can't send any more."""
        packets = self._outbox.packets
        while isinstance(error, MbufError):
            if packets and not isinstance(error, Freed):
                self._send_alone(packets.pop(0))
            else:
                # The program has freed a packet that it had given to `sendto`.
                self._report(error)
                self._outbox.drop_freed()
                packets = self._outbox.packets
            try:
                self.port.push(packets)
                return
            except (OSError, MbufError) as another:
                error = another
        self._fatal(error)

    def _send_alone(self, m: Mbuf) -> None:
        """Send a packet that the port takes for a mistake, without it, for the error that asyncio would tell."""
        try:
            data = bytes(m)
            if m.peer is not None and self.get_extra_info("peername") is None:
                self._sock.sendto(data, m.peer.address)
            else:
                self._sock.send(data)
        except (OSError, MbufError) as error:
            self._outbox.dropped += 1
            tell: Any = self._error_received if isinstance(error, OSError) else self._report
            tell(error)
        finally:
            m.freem()

    def _send_failed(self, error: SendError) -> None:
        """The system refused packets, or the network one that was sent before."""
        self._watch_again()
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
            self._loop.remove_writer(self._fd)
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
        finally:
            self._wait_task = None

    def _check_marks(self) -> None:
        """Call `pause_writing` or `resume_writing` if a mark was passed."""
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
        if self._corks & _SOCKET:
            self._loop.remove_writer(self._fd)
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._release()

    def _release(self) -> None:
        """Close the port and the socket, and drop what refers to this transport."""
        self.port.close()
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._protocol = None

    # Errors.

    def _watch_again(self) -> None:
        """Watch the descriptor again: uvloop does so no more after an error of the socket."""
        self._reader.watch_again()
        if self._corks & _SOCKET:
            self._loop.remove_writer(self._fd)
            self._loop.add_writer(self._fd, self._writable)

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


def _name(read: Callable[[], Any]) -> Any:
    """Return a name of a socket; None if it has none."""
    try:
        return read()
    except OSError:
        return None
