"""The packet that is being sent through a non-blocking socket.

A datagram is sent by one sendmsg(2), all or nothing. On a stream, a packet may be sent in parts (`Transfer`), also from
pages of files. Nothing waits here, and nothing is freed.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from mbuf.errors import MbufError
from mbuf.net.linux import IOV_MAX, RETRY
from mbuf.net.stream.sendfile import Transfer

if TYPE_CHECKING:
    from mbuf.net.pacing.txqueue import TxQueue
    from mbuf.packet.mbuf import Mbuf

#: There is no memory, or the device is busy: the packet may be sent later, but poll(2) can't tell when.
_TRANSIENT = RETRY | {errno.EBUSY}

#: A datagram socket reports an error of earlier packets: the packet of this call wasn't sent, but may be sent again.
_EARLIER = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EPROTO})


class InFlight:
    """A packet, and the queue that it was in. Call `send` until it returns."""

    __slots__ = ("_retried", "_transfer", "m", "queue", "size", "stream")

    def __init__(self, queue: TxQueue, m: Mbuf, stream: bool) -> None:
        self.queue = queue
        self.m = m
        #: True if the socket is a stream socket.
        self.stream = stream
        #: The packet's bytes, from the first call of `send` on.
        self.size = 0
        self._transfer: Transfer | None = None
        self._retried = False

    @property
    def partly_sent(self) -> bool:
        """True if a stream socket has accepted a part, so that the rest must be sent before any other packet."""
        return self._transfer is not None and self._transfer.sent > 0

    def send(self, sock: socket.socket) -> None:
        """Send the packet, or the rest of it. Raises `BlockingIOError` if the socket is full, and its other errors."""
        if self._transfer is None:
            self.size = len(self.m)
            if self.stream:
                self._transfer = Transfer(self.m)
        if self._transfer is not None:
            while not self._transfer.done:
                self._transfer.send(sock)
            return
        try:
            self._sendmsg(sock)
        except OSError as error:
            if self._retried or error.errno not in _EARLIER:
                raise
            self._retried = True
            self._sendmsg(sock)

    def _sendmsg(self, sock: socket.socket) -> None:
        views = list(self.m)
        try:
            sock.sendmsg(views if len(views) <= IOV_MAX else [b"".join(views)])
        finally:
            # A traceback mustn't keep the memory in use.
            views.clear()


def is_transient(error: Exception) -> bool:
    """Return True if the same packet may be sent a little later."""
    return getattr(error, "errno", None) in _TRANSIENT


def without_traceback(error: OSError | MbufError) -> OSError | MbufError:
    """Return a copy of the error, which keeps no frames, and so no mbufs, in use."""
    copy: OSError | MbufError = type(error)(*error.args)
    return copy
