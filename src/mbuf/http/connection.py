"""One HTTP/1.1 connection: reads requests, and makes the header sections of responses. h11 implements the protocol.

Reads from the socket, a few kilobytes at a time; never writes to it, and never sees the content of a response.
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

#: The longest header section of a request in bytes, and the bytes of one read.
_MAX_HEADER = 16384
_READ_SIZE = 4096

#: The two header fields that say how long the content is.
_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})

#: Bounds of a lingering close: bytes that are read and ignored, and seconds.
_LINGER_BYTES = 1 << 18
_LINGER_TIMEOUT = 1.0


class Connection:
    """The protocol state of a connection with a client, on a non-blocking socket.

    For each request call `read_request`, `header`, `sent` once for each piece of the content, `end`, and `linger`; then
    `start_next_cycle` if `persistent`, else close the socket. A request must come within `timeout` seconds.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._sock = sock
        self._timeout = timeout
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER)
        # Of the current request: whether another one may follow it, and whether the response has no content.
        self._reusable = False
        self._is_head = False

    @property
    def persistent(self) -> bool:
        """True if the client may send another request on this connection. See RFC 9112, 9.3."""
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def start_next_cycle(self) -> None:
        """Prepare for the next request."""
        self._http.start_next_cycle()

    async def read_request(self) -> h11.Request | None:
        """Return the next request; None if the client has closed the connection.

        Raises `TimeoutError` if none comes in time, and `h11.RemoteProtocolError` if it isn't valid.
        """
        self._reusable = self._is_head = False
        async with asyncio.timeout(self._timeout):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await asyncio.get_running_loop().sock_recv(self._sock, _READ_SIZE))
        if not isinstance(event, h11.Request):
            return None
        # Before the next event, which may raise: also the response to a bad HEAD request has no content.
        self._is_head = event.method == b"HEAD"
        # The content of a request is not read: if it has some, the connection is closed after the response. So it is if
        # the request has two lengths, for another server may have read the other one. See RFC 9112, 6.1.
        complete = isinstance(self._http.next_event(), h11.EndOfMessage)
        self._reusable = complete and not {name for name, _ in event.headers} >= _LENGTHS
        return event

    def header(self, response: Response) -> tuple[bytes, int]:
        """Return status line and header section of a response, and how many bytes of content are to follow."""
        fields = {"date": formatdate(usegmt=True), **response.fields}
        if response.status != 304:
            fields["content-length"] = str(response.length)
        if not self._reusable:
            fields["connection"] = "close"
        reason = HTTPStatus(response.status).phrase
        event = h11.Response(status_code=response.status, headers=list(fields.items()), reason=reason)
        return self._http.send(event) or b"", 0 if self._is_head else response.length

    def sent(self, count: int) -> None:
        """Record that `count` bytes of the content were sent."""
        if count:
            # h11 only asks for the length, so the bytes needn't exist.
            self._http.send_with_data_passthrough(h11.Data(data=cast("bytes", range(count))))

    def end(self) -> None:
        """Record that the response was sent to its end."""
        self._http.send(h11.EndOfMessage())

    async def linger(self) -> None:
        """Unless the connection is persistent, end the sending side and read until the client closes, within bounds.

        If the socket were closed at once, with bytes of the client unread, TCP would reset the connection, and the
        client might lose the response. See RFC 9112, 9.6.
        """
        if self.persistent:
            return
        count = 0
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_LINGER_TIMEOUT):
                while count < _LINGER_BYTES and (
                    data := await asyncio.get_running_loop().sock_recv(self._sock, _READ_SIZE)
                ):
                    count += len(data)
