"""SO_MAX_PACING_RATE: the rate to which Linux itself limits a socket. See socket(7).

TCP spaces its segments by it, with any device. For UDP it has an effect only if the device has the queueing discipline
fq, so it is used for TCP only. No error is raised here: if the kernel refuses, it doesn't pace.
"""

from __future__ import annotations

import socket
from struct import Struct

_SO_MAX_PACING_RATE = 47
_RATE = Struct("=Q")


class MaxPacing:
    """The kernel's rate limit of one socket: `set_rate` sets it, `restore` puts back what the caller had set."""

    __slots__ = ("_original", "_sock", "rate")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # The option as it was before, empty if it wasn't changed.
        self._original = b""
        #: Bytes per second; 0 if this hasn't set a rate.
        self.rate = 0

    def set_rate(self, rate: int) -> bool:
        """Let the kernel send at most `rate` bytes per second; if it refuses, restore the option, and return False."""
        if self.rate == rate:
            return True
        try:
            if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) != socket.IPPROTO_TCP:
                return False
            self._original = self._original or self._get()
            self._set(_RATE.pack(rate))
            # An older kernel takes only 32 bits of it, and shows another rate here.
            accepted = self._get() == _RATE.pack(rate)
        except OSError:
            accepted = False
        if not accepted:
            self._put_back()
            return False
        self.rate = rate
        return True

    def restore(self) -> None:
        """Put back what was set before `set_rate`. Calling it again has no effect."""
        if self.rate:
            self._put_back()

    def _put_back(self) -> None:
        original, self._original, self.rate = self._original, b"", 0
        if original:
            try:
                self._set(original)
            except OSError:
                # The socket is closed.
                return

    def _get(self) -> bytes:
        return self._sock.getsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, _RATE.size)

    def _set(self, rate: bytes) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, rate)
