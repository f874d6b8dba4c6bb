"""The packets that a port in an asyncio loop doesn't accept yet.

They are pushed in order when the port's descriptor is writable. At most `maxlen` packets wait; others are freed and
counted, as a full interface queue does.

A descriptor may be writable although the port accepts nothing: the system has no memory (ENOBUFS, ENOMEM), or the queue
of a Unix socket's peer is full. The next try then follows after `RETRY_DELAY`, so that the loop doesn't spin.

A packet that can't be sent (it was freed by the program, or has no address) would stop all packets behind it. It is
dropped and counted, and the loop's exception handler is told.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.errors import Freed, Inval
from mbuf.net.port.rules import check_packet, free_sent
from mbuf.net.writable import RETRY_DELAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.net.port.port import Port
    from mbuf.net.watch import Watch
    from mbuf.packet.mbuf import Mbuf

#: The most packets that `append` collects before they are pushed: the most messages of one sendmmsg.
MAX_COLLECTED = 64


class SendQueue:
    """A queue of packets to be pushed to `port`, whose descriptor `watch` watches.

    `emptied()` is called when the last packet was pushed, and by `close`; `failed(error)` when the port can't send any
    more. It calls `close`.
    """

    __slots__ = (
        "_closed",
        "_emptied",
        "_failed",
        "_loop",
        "_maxlen",
        "_port",
        "_watch",
        "dropped",
        "packets",
        "waiting",
    )

    def __init__(
        self,
        port: Port,
        watch: Watch,
        maxlen: int,
        emptied: Callable[[], object],
        failed: Callable[[Exception], object],
    ) -> None:
        self._port = port
        self._watch = watch
        self._maxlen = maxlen
        self._emptied = emptied
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._closed = False
        #: The packets, which belong to the queue.
        self.packets: list[Mbuf] = []
        #: True while they wait for the descriptor, or for the next try; else they were collected by `append`.
        self.waiting = False
        #: The number of packets that were freed without being sent.
        self.dropped = 0

    def append(self, m: Mbuf) -> None:
        """Add a packet, which the next `flush` pushes together with others. Raises `Inval` or `Freed`."""
        check_packet(m)
        if self.waiting or self._closed:
            self._add([m])
            return
        self.packets.append(m)
        if len(self.packets) >= MAX_COLLECTED:
            self.flush()

    def push(self, packets: list[Mbuf]) -> None:
        """Push packets after those in the queue, and add what the port doesn't accept.

        Raises what `port.push` raises; packets that are left in the list still belong to the caller.
        """
        self.flush()
        if not self.packets and not self._closed:
            self._port.push(packets)
        if packets:
            self._add(packets)

    def _add(self, packets: list[Mbuf]) -> None:
        """Add packets, and drop those for which there is no space."""
        space = 0 if self._closed else max(self._maxlen - len(self.packets), 0)
        self.packets += packets[:space]
        del packets[:space]
        self._wait()
        self.drop(packets)

    def flush(self) -> None:
        """Push what is in the queue, unless it waits for the descriptor."""
        if self.packets and not self.waiting:
            self._push()

    def drop(self, packets: list[Mbuf]) -> None:
        """Free and count packets, also if the program has freed some of them already."""
        self.dropped += len(packets)
        with suppress(Freed, Inval):
            free_sent(packets, len(packets))

    def close(self) -> None:
        """Drop what is in the queue, and add nothing any more."""
        self._closed = True
        self.waiting = False
        packets, self.packets = self.packets, []
        self.drop(packets)
        emptied, self._emptied = self._emptied, _nothing
        # They refer to the owner, which refers to this.
        self._failed = _nothing
        emptied()

    def _wait(self) -> None:
        """Push when the descriptor is writable."""
        if self.packets:
            self.waiting = True
            self._watch.add_writer(self._writable)

    def _writable(self) -> None:
        first = self.packets[:1]
        self._push()
        if self.waiting and self.packets[:1] == first:
            self._watch.remove_writer()
            self._loop.call_later(RETRY_DELAY, self._wait)

    def _push(self) -> None:
        """Push what is in the queue; if the port doesn't accept all, wait for the descriptor."""
        while self.packets:
            try:
                self._port.push(self.packets)
                break
            except OSError as error:
                self._failed(error)
                break
            except (Freed, Inval):
                if not self._drop_unsendable():
                    break
            except BaseException:
                # From a function of the program that the port has called. What is left is sent later.
                self._wait()
                raise
        if self._closed:
            return
        if not self.packets:
            self.waiting = False
            self._watch.remove_writer()
            self._emptied()
        elif not self.waiting:
            self._wait()

    def _drop_unsendable(self) -> bool:
        """A packet can't be sent: send those before it, drop it, and tell the loop; False if these aren't accepted.

        If the port is closed, none can be sent.
        """
        try:
            self._port.push([])
        except Inval as error:
            self._failed(error)
        while self.packets and not self._closed:
            one = [self.packets.pop(0)]
            try:
                self._port.push(one)
            except OSError as error:
                self.drop(one)
                self._failed(error)
            except (Freed, Inval) as error:
                self.drop(one)
                self._loop.call_exception_handler({"message": "a queued packet can't be sent", "exception": error})
                return True
            if one:
                if self._closed:
                    self.drop(one)
                else:
                    self.packets[:0] = one
                return False
        return True


def _nothing(*_: object) -> None:
    """In place of a callback that isn't to be called any more."""
