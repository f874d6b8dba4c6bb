import asyncio
import errno
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mbuf import M_EXTPG, M_NOTREADY, PAGE_SIZE, Freed, Inval, Mbuf, NotSupported, Pool
from mbuf.net.stream import sendfile as sendfile_module
from mbuf.net.stream.sendfile import Transfer, asendfile, sendfile
from mbuf.net.writable import RETRY_DELAY, poll_writable

Spawn = Callable[[Callable[[], object]], Any]
Pair = tuple[socket.socket, socket.socket]

SIZES = (0, 1, 4095, 4096, 4097, 20480, 20481, 100_000)
DATA = b"".join(n.to_bytes(4, "big") for n in range(75_000))


def tcp() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected stream sockets; the first sends, and has the smallest send buffer."""
    ours, theirs = tcp() if request.param == "tcp" else socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        yield ours, theirs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    found.write_bytes(DATA)
    return found


@pytest.fixture(autouse=True)
def no_page_is_mapped(pool: Pool) -> Iterator[None]:
    yield
    assert (pool.sfbufs.used, pool.sfbufs.peak) == (0, 0)


def recv_all(theirs: socket.socket) -> bytes:
    """Return all bytes up to the end of the stream."""
    return b"".join(iter(lambda: theirs.recv(65536), b""))


def send_and_recv(spawn: Spawn, pair: Pair, m: Mbuf, offset: int = 0) -> bytes:
    """Send a chain; return what arrives."""
    ours, theirs = pair
    reader = spawn(lambda: recv_all(theirs))
    assert sendfile(ours, m, offset) == len(m) - offset
    ours.shutdown(socket.SHUT_WR)
    got: bytes = reader.done()
    return got


def packet(pool: Pool, path: Path, off: int, len: int) -> Mbuf:
    """A chain of two mbufs, bytes of a file, and unmapped pages of memory."""
    head = pool.gethdr().append(b"h" * 100)
    head.cat(pool.getcl(flags=0).append(b"H" * 2000))
    with pool.file(path) as file:
        head.cat(file.getm(off, len))
    head.cat(pool.frombytes(b"t" * 5000, flags=M_EXTPG))
    head.fixhdr()
    return head


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("off", [0, 1, 4095, 4096, 5000])
def test_sendfile_sends_memory_and_file_pages_in_order(
    pool: Pool, spawn: Spawn, pair: Pair, path: Path, off: int, size: int
) -> None:
    with packet(pool, path, off, size) as m:
        assert send_and_recv(spawn, pair, m) == b"h" * 100 + b"H" * 2000 + DATA[off : off + size] + b"t" * 5000
        assert len(m) == 7100 + size


BOUNDS = (0, 1, 99, 100, 101, 2099, 2100, 2101, 6195, 6196, 6197, 22579, 22580, 22581, 27100, 32099, 32100)


@pytest.mark.parametrize("offset", BOUNDS)
def test_sendfile_begins_at_any_offset(pool: Pool, spawn: Spawn, pair: Pair, path: Path, offset: int) -> None:
    with packet(pool, path, 1, 25_000) as m:
        whole = b"h" * 100 + b"H" * 2000 + DATA[1:25_001] + b"t" * 5000
        assert send_and_recv(spawn, pair, m, offset) == whole[offset:]


@pytest.mark.parametrize("offset", [-1, 32101, 1 << 70])
def test_an_offset_outside_the_chain_is_refused(pool: Pool, pair: Pair, path: Path, offset: int) -> None:
    with packet(pool, path, 1, 25_000) as m, pytest.raises(Inval):
        sendfile(pair[0], m, offset)


def test_an_empty_chain_sends_nothing(pool: Pool, pair: Pair, path: Path) -> None:
    path.write_bytes(b"")
    pair[0].setblocking(False)
    with pool.file(path) as file, pool.gethdr() as m:
        assert sendfile(pair[0], m.cat(file.getm())) == 0


def test_contiguous_bytes_of_a_file_are_sent_in_one_call(
    pool: Pool, spawn: Spawn, pair: Pair, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = os.sendfile

    def counted(out: int, source: int, start: int, count: int) -> int:
        calls.append((start, count))
        return real(out, source, start, count)

    monkeypatch.setattr(os, "sendfile", counted)
    with pool.file(path) as file:
        m = file.getm(10, 200_000).cat(file.getm(200_010, 50_000)).cat(file.getm(7, 3))
    with m:
        assert send_and_recv(spawn, pair, m) == DATA[10:250_010] + DATA[7:10]
    assert calls[0] == (10, 250_000)
    assert calls[-1] == (7, 3)


def test_headers_and_trailers_of_pages_are_sent_in_order(pool: Pool, spawn: Spawn, pair: Pair, path: Path) -> None:
    with pool.file(path) as file:
        first, last = file.getm(100, 9000), file.getm(9100, 5000)
    first.epg.hdr, first.epg.trail = b"<first", b"first>"
    last.epg.hdr = b"<last"
    first.len, last.len = 9012, 5005
    whole = b"<first" + DATA[100:9100] + b"first>" + b"<last" + DATA[9100:14100]
    with first.cat(last) as m:
        for offset in (0, 3, 6, 9005, 9006, 9007, 9012, 9015, 9017, 14016):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                assert send_and_recv(spawn, (ours, theirs), m, offset) == whole[offset:]
        m.adj(2)
        m.adj(-1)
        assert send_and_recv(spawn, pair, m) == whole[2:-1]


def test_an_inconsistent_epg_is_refused(pool: Pool, pair: Pair, path: Path) -> None:
    with pool.file(path) as file, file.getm(100, 3000) as m:
        m.epg.last_len = 4096
        with pytest.raises(Inval, match="first_off"):
            sendfile(pair[0], m)


def test_more_mbufs_than_iov_max_are_sent(pool: Pool, spawn: Spawn, pair: Pair) -> None:
    m = pool.get()
    tail = m
    for n in range(3000):
        tail.append(bytes([n % 251]))
        tail.next = pool.get()
        tail = tail.next
    with m:
        assert send_and_recv(spawn, pair, m) == bytes(n % 251 for n in range(3000))


def read_or_wait(ours: socket.socket, theirs: socket.socket) -> bytes:
    """Return what has arrived; nothing if all was read before, and only TCP's acknowledgement was late."""
    return theirs.recv(1 << 20) if theirs in select.select([theirs], [ours], [], 20)[0] else b""


def test_a_nonblocking_socket_sends_what_it_accepts(pool: Pool, pair: Pair, path: Path) -> None:
    ours, theirs = pair
    ours.setblocking(False)
    got, at = b"", 0
    with packet(pool, path, 0, 300_000) as m:
        while at < len(m):
            try:
                at += sendfile(ours, m, at)
            except BlockingIOError:
                got += read_or_wait(ours, theirs)
        ours.shutdown(socket.SHUT_WR)
        got += recv_all(theirs)
        assert got == b"h" * 100 + b"H" * 2000 + DATA + b"t" * 5000


def test_a_transfer_continues_after_a_partial_write(pool: Pool, pair: Pair, path: Path) -> None:
    ours, theirs = pair
    ours.setblocking(False)
    got = bytearray()
    with packet(pool, path, 0, 300_000) as m:
        transfer = Transfer(m)
        while not transfer.done:
            try:
                transfer.send(ours, 5000)
            except BlockingIOError:
                got += read_or_wait(ours, theirs)
        assert (transfer.sent, transfer.send(ours)) == (len(m), 0)
    ours.close()
    assert got + recv_all(theirs) == b"h" * 100 + b"H" * 2000 + DATA + b"t" * 5000


def test_a_socket_that_accepts_nothing_raises_timeouterror(pool: Pool, spawn: Spawn, pair: Pair, path: Path) -> None:
    pair[0].settimeout(0.05)
    with packet(pool, path, 0, 300_000) as m:
        with pytest.raises(TimeoutError):
            sendfile(pair[0], m)
        got = pair[1].recv(1)
        pair[0].settimeout(20)
        assert (got + send_and_recv(spawn, pair, m)).endswith(DATA + b"t" * 5000)


def test_a_truncated_file_raises_inval_and_says_what_was_sent(pool: Pool, spawn: Spawn, path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, packet(pool, path, 0, 300_000) as m:
        os.truncate(path, 299_999)
        with pytest.raises(Inval, match="has become shorter: 299999 bytes") as caught:
            sendfile(ours, m)
        assert caught.value.__notes__ == ["2100 bytes were sent before"]
        ours.setblocking(False)
        assert sendfile(ours, m) == 2100
        with pytest.raises(Inval, match="shorter"):
            sendfile(ours, m, 2100)
        path.write_bytes(DATA)
        assert sendfile(ours, m, 2100) > 0


def test_only_stream_sockets_without_tls_are_accepted(pool: Pool, path: Path) -> None:
    with packet(pool, path, 0, 10) as m:
        with socket.socket(type=socket.SOCK_DGRAM) as plain, pytest.raises(NotSupported, match="stream"):
            sendfile(plain, m)
        with pytest.raises(Inval, match="give a socket.socket"):
            sendfile(1, m)  # type: ignore[arg-type]
        ours, theirs = socket.socketpair()
        context = ssl.create_default_context()
        with (
            theirs,
            context.wrap_socket(ours, server_hostname="x", do_handshake_on_connect=False) as tls,
            pytest.raises(NotSupported, match="TLS"),
        ):
            sendfile(tls, m)


def test_a_freed_chain_is_not_sent(pool: Pool, pair: Pair, path: Path) -> None:
    m = packet(pool, path, 0, 300_000)
    pair[0].setblocking(False)
    transfer = Transfer(m)
    while transfer.sent < 2101:
        transfer.send(pair[0], 1)
        pair[1].recv(5000)
    m.freem()
    with pytest.raises(Freed):
        transfer.send(pair[0])
    with pytest.raises(Freed):
        sendfile(pair[0], m)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_oserror_says_what_was_sent_before(
    pool: Pool, pair: Pair, path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    ours = pair[0]
    monkeypatch.setattr(os, "sendfile", fail)
    with packet(pool, path, 0, 300_000) as m:
        ours.setblocking(not asynchronous)
        with pytest.raises(OSError, match="broken") as caught:
            asyncio.run(asendfile(ours, m)) if asynchronous else sendfile(ours, m)
        assert vars(caught.value)["sent"] == 2100
        assert caught.value.__notes__ == ["2100 bytes were sent before"]
    monkeypatch.undo()
    with packet(pool, path, 0, 300_000) as m, pytest.raises(BlockingIOError) as blocked:
        fill(ours, m)
    assert vars(blocked.value) == {"sent": 0}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_writable_socket_that_accepts_nothing_is_tried_later(
    pool: Pool, pair: Pair, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    slept: list[float] = []
    send = Transfer._send_views

    def refuse(transfer: Transfer, sock: socket.socket) -> int:
        if len(slept) < 3:
            raise BlockingIOError
        return send(transfer, sock)

    async def asleep(seconds: float) -> None:
        if seconds:
            slept.append(seconds)

    monkeypatch.setattr(Transfer, "_send_views", refuse)
    monkeypatch.setattr(sendfile_module, "sleep", slept.append)
    monkeypatch.setattr(asyncio, "sleep", asleep)
    with pool.frombytes(b"hello") as m:
        if asynchronous:
            pair[0].setblocking(False)
            assert asyncio.run(asendfile(pair[0], m)) == 5
        else:
            pair[0].settimeout(20)
            assert sendfile(pair[0], m) == 5
    assert (slept, pair[1].recv(10)) == ([RETRY_DELAY] * 3, b"hello")


def fill(sock: socket.socket, m: Mbuf) -> None:
    """Send a chain again and again to a non-blocking socket, until it accepts nothing."""
    sock.setblocking(False)
    while True:
        sendfile(sock, m)


def test_a_closed_peer_raises_oserror(pool: Pool, pair: Pair, path: Path) -> None:
    pair[1].close()
    with packet(pool, path, 0, 300_000) as m, pytest.raises(OSError, match="pipe|reset"):
        sendfile(pair[0], m)


def test_asendfile_sends_all(pool: Pool, pair: Pair, path: Path) -> None:
    async def run(m: Mbuf) -> bytes:
        ours, theirs = pair
        ours.setblocking(False)
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        sender = asyncio.create_task(asendfile(ours, m, 50))
        got = b""
        while len(got) < len(m) - 50:
            got += await loop.sock_recv(theirs, 65536)
        assert await sender == len(got)
        assert not loop.remove_writer(ours)
        return got

    with packet(pool, path, 0, 300_000) as m:
        assert asyncio.run(run(m)) == b"h" * 50 + b"H" * 2000 + DATA + b"t" * 5000


def test_asend_can_be_cancelled_and_called_again(pool: Pool, pair: Pair, path: Path) -> None:
    async def run(m: Mbuf) -> bytes:
        ours, theirs = pair
        ours.setblocking(False)
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        transfer = Transfer(m)
        got = b""
        while not transfer.done:
            sender = asyncio.create_task(transfer.asend(ours))
            while not sender.done() and poll_writable(ours, 0):
                await asyncio.sleep(0)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            if len(got) < transfer.sent:
                got += await loop.sock_recv(theirs, 1 << 20)
        while len(got) < transfer.sent:
            got += await loop.sock_recv(theirs, 1 << 20)
        return got

    with packet(pool, path, 0, 100_000) as m:
        assert asyncio.run(run(m)) == b"h" * 100 + b"H" * 2000 + DATA[:100_000] + b"t" * 5000


def test_asend_raises_timeouterror(pool: Pool, pair: Pair, path: Path) -> None:
    pair[0].setblocking(False)
    with packet(pool, path, 0, 300_000) as m, pytest.raises(TimeoutError):
        asyncio.run(Transfer(m).asend(pair[0], 0.02))


def test_asendfile_refuses_a_blocking_socket(pool: Pool, pair: Pair, path: Path) -> None:
    with packet(pool, path, 0, 10) as m, pytest.raises(Inval, match="setblocking"):
        asyncio.run(asendfile(pair[0], m))


READER = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.recv(1000); input()"


def test_a_killed_reader_leaves_nothing_in_use(pool: Pool, path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with subprocess.Popen([sys.executable, "-c", READER, port], stdin=subprocess.PIPE) as reader:
            ours, _ = listener.accept()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            os.truncate(path, 64 << 20)
            with pool.file(path) as file:
                m = file.getm()
                killer = threading.Timer(0.1, reader.kill)
                killer.start()
                with ours, m, pytest.raises(OSError, match="pipe|reset"):
                    sendfile(ours, m)
                killer.join()
                assert file.users == 0
    assert pool.out == 0


class Recorder(socket.socket):
    """A socket that records the flags of sendmsg."""

    def sendmsg(self, views: Any, ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        self.flags = [*getattr(self, "flags", []), flags]
        return super().sendmsg(views, ancillary, flags)


def test_msg_more_is_set_if_a_file_follows(pool: Pool, path: Path) -> None:
    plain, theirs = socket.socketpair()
    with theirs, Recorder(fileno=plain.detach()) as ours:
        with packet(pool, path, 0, 10) as m:
            assert sendfile(ours, m) == 7110
        with pool.gethdr().append(b"all") as m:
            m.next = pool.get()
            m.next.next = pool.get()
            assert sendfile(ours, m) == 3
        assert ours.flags == [socket.MSG_MORE, 0, 0]


def test_unmapped_pages_of_memory_are_sent(pool: Pool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pool.frombytes(DATA[: 3 * PAGE_SIZE], flags=M_EXTPG) as m:
        assert sendfile(ours, m, 100) == 3 * PAGE_SIZE - 100
        assert theirs.recv(1 << 20, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == DATA[100 : 3 * PAGE_SIZE]


@pytest.mark.parametrize("before", [0, 10])
def test_bytes_that_are_not_ready_are_refused(pool: Pool, pair: Pair, path: Path, before: int) -> None:
    """A TLS record that isn't encrypted yet would be sent unencrypted."""
    ours, theirs = pair
    m = pool.gethdr().append(bytes(before))
    rest = pool.alloc_ext_plus_pages(100)
    rest.epg.hdr, rest.epg.last_len = b"head", 100
    rest.len = 104
    rest.flags |= M_NOTREADY
    m.cat(rest)
    m.fixhdr()
    with pytest.raises(Inval, match="aren't ready"):
        sendfile(ours, m)
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    m.freem()
