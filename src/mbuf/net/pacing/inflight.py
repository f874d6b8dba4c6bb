"""One packet on its way through a socket that doesn't block: whole, or not at all, or with its rest to follow.

Sends, and says what became of it. Never waits, and never frees.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from mbuf.const import M_NOTREADY
from mbuf.errors import Inval, MbufError, NotSupported
from mbuf.net.stream.sendfile import Transfer

if TYPE_CHECKING:
    from mbuf.net.pacing.txqueue import TxQueue
    from mbuf.packet.mbuf import Mbuf

_IOV_MAX = os.sysconf("SC_IOV_MAX")

#: There is no memory, or somebody is at it: it will do later, and no poll tells when.
_PASSING = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.EBUSY})

#: What a datagram socket says of packets that went before; this one didn't go for that, and may.
_EARLIER = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EPROTO})


class InFlight:
    """A packet, and the line that it was in. `step` until it has gone."""

    __slots__ = ("_again", "_transfer", "line", "m", "size", "stream")

    def __init__(self, line: TxQueue, m: Mbuf, stream: bool) -> None:
        self.line = line
        self.m = m
        self.stream = stream
        #: Its bytes, known once it was tried.
        self.size = 0
        self._transfer: Transfer | None = None
        self._again = False

    @property
    def begun(self) -> bool:
        """True when a stream has some of its bytes, and so must get the others before any else."""
        return self._transfer is not None and self._transfer.sent > 0

    def step(self, sock: socket.socket) -> None:
        """Send it, or what is left of it. Raises what the socket does, and `BlockingIOError` to be called again."""
        if self._transfer is None:
            self.size = len(self.m)
            if self.stream:
                self._transfer = Transfer(self.m)
        if self._transfer is not None:
            while not self._transfer.done:
                self._transfer.send(sock)
            return
        try:
            self._send(sock)
        except OSError as error:
            if self._again or error.errno not in _EARLIER:
                raise
            self._again = True
            self._send(sock)

    def _send(self, sock: socket.socket) -> None:
        views = list(self.m)
        try:
            sock.sendmsg(views if len(views) <= _IOV_MAX else [b"".join(views)])
        finally:
            # Who looks at the traceback mustn't keep the memory.
            views.clear()


def passes(error: Exception) -> bool:
    """True for an error that says nothing of the packet or the socket, and will be over soon."""
    return getattr(error, "errno", None) in _PASSING


def check(sock: socket.socket) -> None:
    """Refuse a socket that takes no mbufs, or waits."""
    if not isinstance(sock, socket.socket):
        raise Inval(f"{sock!r} is no socket.socket")
    if hasattr(sock, "do_handshake"):
        raise NotSupported("a TLS socket encrypts what it sends: it takes no mbufs")
    if sock.gettimeout() != 0:
        raise Inval("the socket would wait: call setblocking(False)")


def ready(m: Mbuf) -> None:
    """Refuse a packet whose bytes are still to be encrypted, or read."""
    n: Mbuf | None = m
    while n is not None:
        if n.flags & M_NOTREADY:
            raise Inval("the packet has bytes that aren't ready: they are still to be encrypted, or read")
        n = n.next


def bare(error: OSError | MbufError) -> OSError | MbufError:
    """The same error, without the frames of those whom it went through, and all that these hold."""
    made: OSError | MbufError = type(error)(*error.args)
    return made
