"""SO_MAX_PACING_RATE: the pace that Linux itself keeps for a socket, as a whole.

TCP spaces its segments by it whatever the device. UDP only asks the device to, which hardly any does; so it is
not asked here. Never raises: where the kernel won't, it doesn't pace.
"""

from __future__ import annotations

import socket
from struct import Struct

_SO_MAX_PACING_RATE = 47
_RATE = Struct("=Q")


class MaxPacing:
    """The kernel's pace of one socket: `limit` sets it, `lift` puts back what was there before."""

    __slots__ = ("_before", "_sock", "rate")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._before = b""
        #: Bytes a second; 0 while it is not ours to say.
        self.rate = 0

    def limit(self, rate: int) -> bool:
        """Have the kernel send at most so many bytes a second; False, and all as it was before us, if it won't."""
        if self.rate == rate:
            return True
        try:
            if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) != socket.IPPROTO_TCP:
                return False
            self._before = self._before or self._get()
            self._set(_RATE.pack(rate))
            # An older kernel takes 32 bits of it, and says so here.
            kept = self._get() == _RATE.pack(rate)
        except OSError:
            kept = False
        if not kept:
            self._put_back()
            return False
        self.rate = rate
        return True

    def lift(self) -> None:
        """Have no part in it any more."""
        if self.rate:
            self._put_back()

    def _put_back(self) -> None:
        before, self._before, self.rate = self._before, b"", 0
        if before:
            try:
                self._set(before)
            except OSError:
                # The socket is closed, and has no pace.
                return

    def _get(self) -> bytes:
        return self._sock.getsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, _RATE.size)

    def _set(self, rate: bytes) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, rate)
