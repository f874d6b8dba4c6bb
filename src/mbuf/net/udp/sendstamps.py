"""When packets were sent: time stamps that the system puts into the error queue of their socket (SO_TIMESTAMPING).

Each message that goes out gets the next number (SOF_TIMESTAMPING_OPT_ID), and its stamp carries that, without the bytes
(SOF_TIMESTAMPING_OPT_TSONLY). The stamps wait in the error queue, which `SendErrors` reads, beside the errors.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

#: Stamps that are kept until the program asks for them. When there are more, the oldest are lost: their numbers miss.
STAMPS_MAX = 4096
#: struct scm_timestamping: of the system, nothing, of the network card; each 0 if there is none.
_STAMPS = struct.Struct("=qqqqqq")
_SECOND = 10**9


@dataclass(frozen=True, slots=True)
class SendStamp:
    """When a packet was sent. See `UdpPort.send_stamps`."""

    #: The number of the packet: 0 for the first one that the port has sent.
    number: int
    #: Nanoseconds since the epoch.
    time: int
    #: True for the time at which the network card sent it, False for that at which its driver got it.
    hardware: bool


class SendStamps:
    """The stamps that were read from the error queue, and not taken by the program."""

    def __init__(self) -> None:
        self._stamps: deque[SendStamp] = deque(maxlen=STAMPS_MAX)

    def add(self, number: int, data: bytes) -> None:
        """Add the stamp of a packet: a struct scm_timestamping."""
        seconds, nanoseconds, _, _, hard_seconds, hard_nanoseconds = _STAMPS.unpack_from(data)
        hardware = bool(hard_seconds or hard_nanoseconds)
        time = hard_seconds * _SECOND + hard_nanoseconds if hardware else seconds * _SECOND + nanoseconds
        self._stamps.append(SendStamp(number, time, hardware))

    def take(self) -> list[SendStamp]:
        """Return the stamps, the oldest first, and forget them."""
        taken = []
        while self._stamps:
            taken.append(self._stamps.popleft())
        return taken
