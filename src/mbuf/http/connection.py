"""HTTP/1.1 with one client: what it asks, and how an answer is framed. h11 knows the rules.

Reads from the socket, a little at a time. Never writes, and never sees the bytes of a body.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import h11

from mbuf.http.response import Response

#: Bytes of a request's head at most, and of one read.
_HEAD = 16384
_READ = 4096

#: Bytes and seconds for which a client is listened to that was told to go, so that it hears why.
_LAST_BYTES = 1 << 18
_LAST_SECONDS = 1.0


class Connection:
    """What goes on between a client and a server: `request`, `head`, `body`, `end`, `part`, and `again`."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self._sock = sock
        self._patience = patience
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
        self._whole = False
        self._bare = False

    @property
    def goes_on(self) -> bool:
        """True when the client may ask again."""
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def again(self) -> None:
        """Be ready for the next request."""
        self._http.start_next_cycle()

    async def request(self) -> h11.Request | None:
        """The next request, in time; None if the client has gone. Raises h11's RemoteProtocolError for a bad one."""
        self._whole = self._bare = False
        async with asyncio.timeout(self._patience):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await asyncio.get_running_loop().sock_recv(self._sock, _READ))
        if not isinstance(event, h11.Request):
            return None
        # Set before the next event is read: that may raise, and the answer to a HEAD request never has a body.
        self._bare = event.method == b"HEAD"
        # A body that comes with it isn't read: the client is let go of instead.
        self._whole = isinstance(self._http.next_event(), h11.EndOfMessage)
        return event

    def head(self, reply: Response) -> tuple[bytes, int]:
        """The head of an answer, and how many bytes of its body are to follow it."""
        fields = {"date": formatdate(usegmt=True), **reply.fields}
        if reply.status != 304:
            fields["content-length"] = str(reply.count)
        if not self._whole:
            fields["connection"] = "close"
        phrase = HTTPStatus(reply.status).phrase
        response = h11.Response(status_code=reply.status, headers=list(fields.items()), reason=phrase)
        return self._http.send(response) or b"", 0 if self._bare else reply.count

    def body(self, count: int) -> None:
        """So many bytes of the body went."""
        if count:
            # All that h11 does with them is to count.
            self._http.send_with_data_passthrough(h11.Data(data=cast("bytes", range(count))))

    def end(self) -> None:
        """All went."""
        self._http.send(h11.EndOfMessage())

    async def part(self) -> None:
        """If this was the last answer, see to it that the client can read it: closed at once, it might not."""
        if self.goes_on:
            return
        heard = 0
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_LAST_SECONDS):
                while heard < _LAST_BYTES and (data := await asyncio.get_running_loop().sock_recv(self._sock, _READ)):
                    heard += len(data)
