"""What becomes of datagrams that can't be sent, and how the program is told.

A mistake of the caller's is raised by `push` (`mistake`): too many bytes for any datagram, a peer of another family, a
broadcast without SO_BROADCAST. All others are told after the call (`tell`), each as a `SendError`: to the program's
`on_error`, or if it has none to the logger `mbuf`, one line in `LOG_INTERVAL` seconds. They come from two places:

* The system refuses a datagram when it is sent: there is no route, a firewall refuses it.
* The network refuses one later, by ICMP: no program listens at the port, a router's link has a smaller MTU. The system
  returns that for a later call, which has nothing to do with it: the sender makes that call again. With IP_RECVERR the
  system also says to which peer the datagram was sent, and does so for sockets that aren't connected too. See ip(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from mbuf.errors import Inval, MbufError, TooLong
from mbuf.net.linux import (
    IP_RECVERR,
    IPV6_RECVERR,
    SO_EE_ORIGIN_LOCAL,
    SO_EE_ORIGIN_TIMESTAMPING,
    SO_TIMESTAMPING,
)
from mbuf.net.sockets import never_waiting
from mbuf.net.udp.sendstamps import SendStamps
from mbuf.packet.peer import Peer
from mbuf.vm.log_errors import log

#: The most payload bytes of a UDP datagram over IPv4. Over IPv6 it may have 20 more.
PAYLOAD_MAX = 65507
#: Seconds between two lines of the log.
LOG_INTERVAL = 10.0
#: struct sock_extended_err: errno, origin, type, code, info (the MTU), data.
_EXTENDED = struct.Struct("=IBBBxII")
#: How many messages of the error queue are read at once: the bound for one call.
_QUEUE_MAX = 64
_ERRQUEUE = socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
_STAMP = (socket.SOL_SOCKET, SO_TIMESTAMPING)
_QUEUES = ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR))


class SendError(OSError):
    """Datagrams that the system or the network refused. `errno` says why, such as ECONNREFUSED or EMSGSIZE.

    The port gives it to `on_error`; it isn't raised.
    """

    def __init__(self, error: int, peer: Peer | None, packets: int = 0, mtu: int = 0) -> None:
        where = "" if peer is None else f" (to {peer.address})"
        size = f", the MTU of the route is {mtu}" if mtu else ""
        super().__init__(error, f"{os.strerror(error)}{where}{size}")
        #: Where they were sent to; None if the system doesn't say.
        self.peer = peer
        #: How many packets the system refused at once; 0 if the network refused one that had been sent.
        self.packets = packets
        #: The MTU of the route, for EMSGSIZE from the network; else 0.
        self.mtu = mtu


class ErrorLog:
    """Logs errors, as the `on_error` of ports that have none: one line in `LOG_INTERVAL` seconds, with `name` in it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logged_at = -LOG_INTERVAL
        self._not_logged = 0

    def __call__(self, error: SendError) -> None:
        now = time.monotonic()
        if now - self._logged_at < LOG_INTERVAL:
            self._not_logged += 1
            return
        more = f" (and {self._not_logged} errors before, which were not logged)" if self._not_logged else ""
        self._logged_at, self._not_logged = now, 0
        what = ""
        if error.packets:
            what = "1 packet was not sent: " if error.packets == 1 else f"{error.packets} packets were not sent: "
        log("warning", "%s: %s%s%s", self._name, what, error.strerror, more)


class SendErrors:
    """The errors of a port, called `name` in the log. With `recverr` the socket has IP_RECVERR.

    If the socket has time stamps of what is sent, `stamps` gets them: they are in the same queue.
    """

    def __init__(
        self,
        sock: Any,
        name: str,
        on_error: Callable[[SendError], object] | None = None,
        recverr: bool = False,
        peer: Peer | None = None,
        stamps: SendStamps | None = None,
    ) -> None:
        if on_error is not None and not callable(on_error):
            raise TypeError(f"{name}: on_error {on_error!r} can't be called: give a function")
        self._sock = sock
        self._log = ErrorLog(name)
        self._on_error: Callable[[SendError], object] = self._log if on_error is None else on_error
        #: The socket has an error queue, which has to be read.
        self.recverr = recverr or stamps is not None
        self._stamps = stamps
        #: Errors of the network that were read by `read_all`.
        self.faults = 0
        # Messages of the error queue that were read.
        self._read = 0
        #: The peer of a connected socket, and of all packets with a `to`.
        self._peer = peer
        #: The errors that the program wasn't told yet.
        self.untold: list[SendError] = []

    def add(self, error: int, peer: Peer | None, packets: int) -> None:
        """Add an error of packets that the system refused when they were sent."""
        self.untold.append(SendError(error, peer or self._peer, packets))

    def add_pending(self, error: int) -> None:
        """Add an error that was pending on the socket; what the error queue says about it is better."""
        if not self.read_queue():
            self.untold.append(SendError(error, self._peer))

    def read_queue(self) -> int:
        """Add what is in the error queue of the socket; how many errors of the network."""
        before = len(self.untold)
        for _ in range(_QUEUE_MAX if self.recverr else 0):
            try:
                _, control, _, address = never_waiting(self._sock, "recvmsg", 0, 512, _ERRQUEUE)
            except OSError:
                break
            self._read += 1
            stamp = b""
            for level, kind, data in control:
                if (level, kind) == _STAMP:
                    stamp = data
                elif (level, kind) in _QUEUES:
                    number, origin, _, _, info, key = _EXTENDED.unpack_from(data)
                    if origin == SO_EE_ORIGIN_TIMESTAMPING:
                        if self._stamps is not None and stamp:
                            self._stamps.add(key, stamp)
                    # A local one was returned by the call, too.
                    elif origin != SO_EE_ORIGIN_LOCAL:
                        peer = Peer(address) if address else None
                        self.untold.append(SendError(number, peer, 0, info if number == errno.EMSGSIZE else 0))
        return len(self.untold) - before

    def read_all(self) -> None:
        """Read the whole error queue; count its errors, and tell the program."""
        before = -1
        while self.recverr and before != self._read:
            before = self._read
            self.faults += self.read_queue()
        self.tell()

    def tell(self) -> None:
        """Tell the program, or log."""
        on_error = self._on_error
        while self.untold:
            # First: what the program does may push again.
            on_error(self.untold.pop(0))

    def forget(self) -> None:
        """Call the program no more: the port is closed. Its function often refers to the port, which would be a cycle.

        Errors that it wasn't told are logged: it has closed the port in `tell`, or in another thread.
        """
        self._on_error = self._log

    def mistake(self, error: int, size: int, peer: Peer | None) -> MbufError | None:
        """The exception for a mistake of the caller's in a packet of `size` bytes; None for any other error."""
        family = self._sock.family
        if family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            return None
        if error == errno.EMSGSIZE and (size > PAYLOAD_MAX or family == socket.AF_UNIX):
            limit = f"give at most {PAYLOAD_MAX}" if family != socket.AF_UNIX else "raise SO_SNDBUF"
            return TooLong(f"push: a packet of {size} bytes can't be one datagram: {limit}")
        if peer is not None and error in (errno.EAFNOSUPPORT, errno.EINVAL) and not _reaches(family, peer):
            return Inval(f"push: {peer!r} is of another family than the socket, {family!r}")
        if error == errno.EACCES and family == socket.AF_INET and not self._sock.getsockopt(*_BROADCAST):
            to = "" if peer is None else f" {peer.address}"
            return Inval(f"push: the system forbids to send to{to}: for a broadcast, set SO_BROADCAST on the socket")
        return None


_BROADCAST = (socket.SOL_SOCKET, socket.SO_BROADCAST)


def _reaches(family: int, peer: Peer) -> bool:
    """Whether a socket can have such a peer: one of IPv6 can have a peer of IPv4."""
    theirs = peer.family
    return theirs == family or (family == socket.AF_INET6 and theirs == socket.AF_INET)
