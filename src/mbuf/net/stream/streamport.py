"""A stream socket, of TCP or Unix, as a port: it receives into chains of mbufs, and sends chains.

In: when the caller asks for bytes, the port allocates as many clusters as the last reads suggest (`read_sizer`), and
one recvmsg(2) fills them. So an idle connection holds no mbuf, and a fast one needs few system calls. Nothing is
copied, except up to 2048 bytes that would keep a cluster of 16 KiB.

Out: `push` and `send` pass views of many mbufs to one sendmsg(2). A stream has no packets, so the socket may accept a
part of one. The rest of that packet goes to `write_buffer`, and is sent before anything else: the bytes stay in order,
and a packet that is removed from the caller's list is sent as a whole, unless the connection ends.

No call waits, and the caller waits for the socket by `fileno`. If an error occurs after some packets were received or
sent, the call returns these, and the next call raises the error.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from mbuf.errors import Inval, MbufError, NoBufs, NoMemory
from mbuf.net.link.offload import check_complete
from mbuf.net.linux import IOV_MAX, RETRY
from mbuf.net.port.base import BasePort
from mbuf.net.port.rules import (
    check_list,
    check_packet,
    check_ready,
    check_untagged,
    check_usable,
    free_sent,
    remove_sent,
)
from mbuf.net.sockets import check_pool, check_stream_socket
from mbuf.net.stream.read_sizer import ReadSizer, room_views
from mbuf.packet.read import views_of
from mbuf.packet.sockbuf import SockBuf

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Bytes after which no mbuf is added to one call of sendmsg: a socket hardly accepts more at once.
BATCH_BYTES = 1 << 20

#: The most bytes of one read, unless the caller gives another number.
MAX_READ = 1 << 18


class StreamPort(BasePort):
    """A port for `sock`, a connected stream socket, with mbufs from `pool`.

    The socket belongs to the caller. The port makes it non-blocking; `close`, or the end of a `with` statement,
    restores its timeout. No call waits even if another process that has the socket makes it blocking. `pull` and `push`
    are those of every port; `recv` and `send` are for programs that treat the bytes as a stream. Errors of the socket
    are raised as `OSError`, and a pool without mbufs never ends the connection. In `stat`, a chain that a read has
    returned counts as a packet. One thread may receive while another sends. Raises `Inval` if `sock` isn't a socket,
    and `NotSupported` if it isn't a stream socket, or if it does TLS.
    """

    def __init__(self, pool: Pool, sock: socket.socket) -> None:
        check_pool("StreamPort", pool)
        check_stream_socket("StreamPort", sock)
        super().__init__()
        self._timeout = sock.gettimeout()
        sock.setblocking(False)
        #: The socket, which belongs to the caller.
        self.sock = sock
        #: True after the peer has closed its direction, and all bytes were read.
        self.eof = False
        #: The bytes of a packet of which the socket has accepted only a part.
        self.write_buffer = SockBuf()
        self._sizer = ReadSizer(pool)
        # An error that the next call raises.
        self._error: OSError | None = None

    def fileno(self) -> int:
        """Return the socket's file descriptor, to wait for; -1 if the socket is closed."""
        return self.sock.fileno()

    def _raise_deferred(self) -> None:
        """Raise the error that the last call didn't raise, once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    # In.

    def recv(self, nbytes: int = MAX_READ) -> Mbuf | None:
        """Return the bytes of one read, at most `nbytes`, as a chain, which belongs to the caller; or None.

        None means that no bytes have arrived, or if `eof` is True, that no more will. Raises `NoBufs` or `NoMemory` if
        the pool has no mbuf to read into: the bytes stay in the socket, so call again later. Raises `Inval` if the port
        is closed, `Busy` if another thread is receiving, and `OSError`. See recvmsg(2).
        """
        if nbytes < 1:
            raise Inval(f"recv: {nbytes} bytes: give 1 or more")
        check_usable("recv", self.closed, False)
        with self._pull_lock:
            return self._recv(nbytes)

    def _recv(self, nbytes: int) -> Mbuf | None:
        self._raise_deferred()
        if self.eof:
            return None
        asked = min(self._sizer.size, nbytes)
        try:
            m = self._sizer.alloc(asked)
        except (NoBufs, NoMemory):
            self._counts["short"] += 1
            raise
        got = 0
        self._counts["calls_in"] += 1
        try:
            got = _recv_into(self.sock, m, asked)
            self.eof = got == 0
        except OSError as error:
            if error.errno not in RETRY:
                raise
        finally:
            if not got:
                m.freem()
        if not got:
            return None
        self._counts["packets_in"] += 1
        self._counts["bytes_in"] += got
        return self._sizer.shrink_to_fit(m, got, asked)

    def pull(self, n: int) -> list[Mbuf]:
        """Return the chains of up to `n` reads, none of them empty; they belong to the caller.

        The list is empty if no bytes have arrived, or the peer has closed (see `eof`), or the pool has no mbufs: then
        the bytes stay in the socket, and `stat().short` counts it. Raises `Inval` if the port is closed or `n` is
        negative, `Busy` if another thread is receiving, and `OSError`.
        """
        count = self._begin_pull(n)
        chains: list[Mbuf] = []
        more = True
        with self._pull_lock:
            while more and len(chains) < count:
                asked = min(self._sizer.size, MAX_READ)
                try:
                    m = self._recv(MAX_READ)
                except (NoBufs, NoMemory):
                    break
                except OSError as error:
                    if not chains:
                        raise
                    self._error = error
                    break
                if m is not None:
                    chains.append(m)
                more = m is not None and len(m) >= asked
        return chains

    # Out.

    def send(self, buffer: SockBuf) -> int:
        """Send bytes of a buffer until the socket accepts no more; return the number of bytes sent, which are freed.

        The rest of an earlier `push` is sent first; 0 is returned if the socket doesn't accept all of that. Raises
        `Inval` if the port is closed, `Busy` if another thread is sending, and `OSError`. See sendmsg(2).
        """
        check_usable("send", self.closed, False)
        with self._push_lock:
            if buffer is not self.write_buffer and not self._flush():
                return 0
            return self._send(buffer)

    def _send(self, buffer: SockBuf) -> int:
        self._raise_deferred()
        sent = 0
        while buffer:
            views = buffer.views(IOV_MAX, BATCH_BYTES)
            offered = sum(map(len, views))
            count = self._sendmsg(views)
            buffer.drop(count)
            sent += count
            if count < offered:
                break
        return sent

    def push(self, packets: list[Mbuf]) -> int:
        """Send packets from the first one on, until the socket accepts no more; return the number of packets.

        These are removed from the list. They belong to the port, which frees them; the others still belong to the
        caller. A packet of which the socket accepts only a part counts as sent, and its rest stays in `write_buffer`:
        call `flush`, or `push` with other packets, when the socket is writable. Raises what `Port.push` raises. See
        sendmsg(2).
        """
        check_list(packets)
        pushed = 0
        with self._push_lock:
            self._raise_deferred()
            try:
                while packets and self._flush() and (count := self._push_batch(packets)):
                    pushed += count
            except OSError as error:
                if not pushed:
                    raise
                self._error = error
        return pushed

    def _push_batch(self, packets: list[Mbuf]) -> int:
        """Send the first packets in one call; return how many were sent, and removed from the list.

        A signal handler or another thread may change the list during the call.
        """
        batch = packets[:IOV_MAX]
        views, sizes = _batch(batch)
        sent = self._sendmsg(views) if views else 0
        whole = 0
        while whole < len(sizes) and sizes[whole] <= sent:
            sent -= sizes[whole]
            whole += 1
        done = whole + (sent > 0)
        self._counts["packets_out"] += done
        del batch[done:]
        remove_sent(packets, batch)
        if sent:
            # First, since the rest of this packet must follow even if one of the others can't be freed.
            self.write_buffer.append(batch[whole])
            self.write_buffer.drop(sent)
        free_sent(batch, whole)
        return done

    def flush(self) -> bool:
        """Send what is in `write_buffer`; return True if it is empty then.

        Raises `Inval` if the port is closed, `Busy` if another thread is sending, and `OSError`.
        """
        with self._push_lock:
            return self._flush()

    def _flush(self) -> bool:
        if self.write_buffer:
            self._send(self.write_buffer)
        return not self.write_buffer

    def _sendmsg(self, views: list[memoryview]) -> int:
        """Return the number of bytes that the socket has accepted."""
        self._counts["calls_out"] += 1
        try:
            count = self.sock.sendmsg(views, (), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
            self._counts["bytes_out"] += count
            return count
        except OSError as error:
            if error.errno not in RETRY:
                raise
            return 0
        finally:
            views.clear()

    def shutdown(self) -> None:
        """End the outgoing direction: the peer reads the end of the stream. Call `flush` before, until it returns True.

        Raises `OSError`. See shutdown(2), SHUT_WR.
        """
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Free what is in `write_buffer`, and restore the socket's timeout. The socket stays open.

        Raises `Busy` if another thread is receiving or sending. Calling it again has no effect.
        """
        if not self._set_closed():
            return
        self.write_buffer.clear()
        if self.sock.fileno() >= 0:
            self.sock.settimeout(self._timeout)


def _recv_into(sock: socket.socket, m: Mbuf, asked: int) -> int:
    """Read at most `asked` bytes into empty mbufs; return the number of bytes."""
    views = room_views(m, asked)
    try:
        if len(views) == 1:
            return sock.recv_into(views[0], 0, socket.MSG_DONTWAIT)
        return sock.recvmsg_into(views, 0, socket.MSG_DONTWAIT)[0]
    finally:
        # A traceback mustn't keep the memory in use.
        views.clear()


def _batch(packets: list[Mbuf]) -> tuple[list[memoryview], list[int]]:
    """Return views of the first packets, for one call, and their sizes, up to one that can't be sent.

    Raises an error if that is the first one.
    """
    views: list[memoryview] = []
    sizes: list[int] = []
    left = BATCH_BYTES
    try:
        for thing in packets:
            if len(views) >= IOV_MAX or left <= 0:
                break
            m = check_packet(thing)
            check_ready("push", m)
            check_untagged(m)
            check_complete(m)
            views += views_of(m, IOV_MAX - len(views), left)
            sizes.append(len(m))
            left -= sizes[-1]
    except MbufError:
        if not sizes:
            raise
    return views, sizes
