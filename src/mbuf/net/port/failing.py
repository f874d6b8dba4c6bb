"""A port whose n-th call fails, to test programs that must cope with errors."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from mbuf.errors import Inval
from mbuf.net.port.wrapper import PortWrapper
from mbuf.net.sockets import check_port

if TYPE_CHECKING:
    from mbuf.net.port.port import Port, PortStat
    from mbuf.packet.mbuf import Mbuf


class Failing(PortWrapper):
    """A port around `port` whose call number `fails` raises `error`. Pulls and pushes are counted together, from 1.

    The call that fails changes nothing; all others go to `port`. `calls` is the number of calls so far. Without
    `error` it raises OSError (EIO). Closing it closes `port`. Raises `Inval` if `fails` is less than 1.
    """

    def __init__(self, port: Port, fails: int, error: BaseException | None = None) -> None:
        check_port("Failing", port)
        if fails < 1:
            raise Inval(f"fails {fails}: give the number of a call, 1 or more")
        self.port = port
        self.fails = fails
        self.error = OSError(errno.EIO, os.strerror(errno.EIO)) if error is None else error
        self.calls = 0

    def pull(self, n: int) -> list[Mbuf]:
        self._call()
        return self.port.pull(n)

    def push(self, packets: list[Mbuf]) -> int:
        self._call()
        return self.port.push(packets)

    def stat(self) -> PortStat:
        return self.port.stat()

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self.fails:
            raise self.error
