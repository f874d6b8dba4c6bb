import asyncio
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from mbuf import M_NOWAIT, NoBufs, Pool
from mbuf.http import AccessLogEntry, FileServer
from mbuf.http import response as response_module

Sites = Callable[..., "Site"]
Eventually = Callable[[Callable[[], object]], None]

SIZES = (0, 1, 4095, 4096, 4097, 20480, 20481)
BIG = b"".join(n.to_bytes(4, "big") for n in range(700_000))


class Site:
    """A server in a thread, and the entries of its access log."""

    def __init__(self, pool: Pool, root: Path, **options: Any) -> None:
        self.pool = pool
        self.root = root
        self.log: list[AccessLogEntry] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.server = FileServer(pool, root, on_request=self.log.append, **options)
        self.started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = Future()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)
        self.thread.start()

    async def run(self) -> None:
        task = asyncio.create_task(self.server.serve(self.listener))
        self.started.set_result((asyncio.get_running_loop(), task))
        await asyncio.gather(task, return_exceptions=True)

    def stop(self) -> None:
        loop, task = self.started.result(20)
        if self.thread.is_alive():
            loop.call_soon_threadsafe(task.cancel)
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.listener.close()
        self.server.close()

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def request(self, *lines: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, fields and content of the response to these lines."""
        fields = ["Host: x", "Connection: close"]
        return parsed(self.exchange("\r\n".join([lines[0], *fields, *lines[1:], "", ""]).encode()))

    def get(self, target: str, *fields: str) -> tuple[int, dict[str, str], bytes]:
        return self.request(f"GET {target} HTTP/1.1", *fields)

    def exchange(self, data: bytes) -> bytes:
        """Send bytes, and return what is received until the end."""
        with self.connect() as sock:
            sock.sendall(data)
            return b"".join(iter(lambda: sock.recv(65536), b""))


def parsed(data: bytes) -> tuple[int, dict[str, str], bytes]:
    header, _, content = data.partition(b"\r\n\r\n")
    status_line, *lines = header.decode("latin-1").split("\r\n")
    return int(status_line.split()[1]), dict(line.split(": ", 1) for line in lines), content


@pytest.fixture
def sites(make: Callable[..., Pool], tmp_path: Path) -> Iterator[Sites]:
    """Starts servers of a folder. At the end no mbuf, window or page is in use, and no file open."""
    with ExitStack() as stack:
        (tmp_path / "www").mkdir()
        before = len(os.listdir("/proc/self/fd"))

        def start(tunables: dict[str, int] | None = None, **options: Any) -> Site:
            site = Site(make(tunables), tmp_path / "www", **options)
            stack.callback(site.stop)
            made.append(site)
            return site

        made: list[Site] = []
        yield start
        stack.close()
        assert [(site.pool.out, site.pool.sfbufs.used, site.pool.pages.used) for site in made] == [(0, 0, 0)] * len(
            made
        )
        assert len(os.listdir("/proc/self/fd")) <= before


@pytest.fixture
def site(sites: Sites) -> Site:
    """A server of some files."""
    site = sites()
    for size in SIZES:
        (site.root / str(size)).write_bytes(BIG[:size])
    (site.root / "big").write_bytes(BIG)
    return site


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_sent_unchanged(site: Site, size: int) -> None:
    status, fields, body = site.get(f"/{size}")
    assert (status, fields["content-length"], body) == (200, str(size), BIG[:size])
    status, fields, body = site.request(f"HEAD /{size} HTTP/1.1", "Range: bytes=0-0")
    assert (status, fields["content-length"], body) == (200, str(size), b"")


def test_a_large_file_is_sent_in_pieces(site: Site, eventually: Eventually) -> None:
    assert site.get("/big")[2] == BIG
    eventually(lambda: site.log)
    # The header, and 1 MiB in mbufs of 20480 bytes.
    assert site.server.totals.peak <= 54
    assert (site.server.totals.requests, site.server.totals.failed) == (1, 0)


@pytest.mark.parametrize(
    ("wanted", "status", "begin", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=1-4095", 206, 1, 4096),
        ("bytes=4095-4096", 206, 4095, 4097),
        ("bytes=20480-", 206, 20480, 20481),
        ("bytes=-1", 206, 20480, 20481),
        ("bytes=-99999", 206, 0, 20481),
        ("bytes = 5 - 99999999999999999999999", 206, 5, 20481),
        ("BYTES=20480-20480", 206, 20480, 20481),
        ("bytes=20481-", 416, 0, 0),
        ("bytes=20481-30000", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=5-4", 200, 0, 20481),
        ("bytes=-", 200, 0, 20481),
        ("bytes=a-b", 200, 0, 20481),
        ("bytes=1-2,4-5", 200, 0, 20481),
        ("lines=1-2", 200, 0, 20481),
        ("bytes=" + "9" * 5000 + "-", 200, 0, 20481),
    ],
)
def test_a_range_request(site: Site, wanted: str, status: int, begin: int, end: int) -> None:
    found, fields, body = site.get("/20481", f"Range: {wanted}")
    assert found == status
    if status == 416:
        assert fields["content-range"] == "bytes */20481"
    else:
        assert body == BIG[begin:end]
        assert fields.get("content-range", "") == (f"bytes {begin}-{end - 1}/20481" if status == 206 else "")
        assert fields["accept-ranges"] == "bytes"


def test_an_empty_file_is_sent_whole_whatever_the_range(site: Site) -> None:
    assert [site.get("/0", f"Range: bytes={wanted}")[0] for wanted in ("0-", "-5")] == [200, 200]


def test_preconditions_and_if_range(site: Site) -> None:
    os.utime(site.root / "4096", (1_000_000_000, 1_000_000_000))
    _, fields, _ = site.get("/4096")
    etag, date = fields["etag"], fields["last-modified"]
    before, after = formatdate(999_999_999, usegmt=True), formatdate(1_000_000_001, usegmt=True)
    for field, status in [
        (f"If-None-Match: {etag}", 304),
        (f'If-None-Match: "other", W/{etag}', 304),
        ("If-None-Match: *", 304),
        ('If-None-Match: "other"', 200),
        (f"If-Modified-Since: {date}", 304),
        (f"If-Modified-Since: {after}", 304),
        (f"If-Modified-Since: {before}", 200),
        ("If-Modified-Since: yesterday", 200),
        ("If-Modified-Since: Mon, 01 Jan 99999999 00:00:00 GMT", 200),
        (f"If-Match: {etag}", 200),
        (f"If-Match: W/{etag}", 412),
        ('If-Match: "other"', 412),
        (f"If-Unmodified-Since: {before}", 412),
        (f"If-Unmodified-Since: {date}", 200),
    ]:
        found, _, body = site.get("/4096", field)
        assert (found, len(body)) == (status, 4096 if status == 200 else 0), field
    for validator, status in [(etag, 206), (date, 206), (f"W/{etag}", 200), ('"other"', 200), (before, 200)]:
        assert site.get("/4096", "Range: bytes=1-2", f"If-Range: {validator}")[0] == status, validator


def test_curl_receives_ranges(site: Site) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    for wanted in ("0-0", "4095-4096", "1048570-1048590", "2799999-", "-7", "0-"):
        command = ["curl", "-sS", "-m", "20", "-r", wanted, f"http://127.0.0.1:{site.port}/big"]
        got = subprocess.run(command, capture_output=True, check=True).stdout
        first, _, last = wanted.partition("-")
        assert got == (BIG[int(first) : int(last) + 1 if last else None] if first else BIG[-int(last) :])
    command = ["curl", "-sS", "-m", "20", *(f"http://127.0.0.1:{site.port}/{size}" for size in SIZES)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"".join(BIG[:size] for size in SIZES)
    assert site.server.totals.connections == 7


def test_a_persistent_connection_serves_requests_also_pipelined(site: Site) -> None:
    received = site.exchange(
        b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /4096 HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET /nix HTTP/1.1\r\nHost: x\r\n\r\nGET http://x/4095?a=%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert received.count(b"HTTP/1.1 ") == 4
    assert received.endswith(b"\r\n\r\n" + BIG[:4095])
    assert site.server.totals.connections == 1
    assert site.exchange(b"GET /1 HTTP/1.0\r\n\r\n").endswith(b"Connection: close\r\n\r\n\0")


@pytest.mark.parametrize("coding", ["Transfer-Encoding: chunked", "transfer-encoding: Chunked"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_after_a_request_with_two_lengths_the_connection_is_closed(site: Site, method: str, coding: str) -> None:
    first = f"{method} /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n{coding}\r\n\r\n0\r\n\r\n"
    received = site.exchange(first.encode() + b"GET /4096 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"\r\nconnection: close\r\n" in received
    assert received.count(b"HTTP/1.1 ") == 1


def test_an_exception_of_on_request_is_logged_and_the_connection_goes_on(
    sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    site = sites()
    (site.root / "1").write_bytes(b"x")

    def fails(entry: AccessLogEntry) -> None:
        raise ValueError(entry.target)

    site.server._on_request = fails
    with caplog.at_level("ERROR", "mbuf"):
        received = site.exchange(
            b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert [(record.name, record.message) for record in caplog.records] == [("mbuf.http", "on_request failed")] * 2
    assert caplog.records[0].exc_info is not None


def test_an_unexpected_exception_is_logged_and_answered_500(
    sites: Sites, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = sites()
    (site.root / "1").write_bytes(b"x")

    def fails(name: bytes) -> str:
        raise ValueError(name)

    monkeypatch.setattr(response_module, "_media_type", fails)
    with caplog.at_level("ERROR", "mbuf"):
        assert site.get("/1")[0] == 500
    assert [record.message for record in caplog.records] == ["the response to GET /1 failed"]
    assert [entry.status for entry in site.log] == [500]


def test_only_files_below_the_folder_are_sent(site: Site) -> None:
    root = site.root
    (root.parent / "secret").write_bytes(b"secret")
    (root / "out").symlink_to(root.parent / "secret")
    (root / "up").symlink_to(root.parent)
    (root / "in").symlink_to("4096")
    (root / "round").symlink_to("round")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "sock"))
    (root / "closed").write_bytes(b"x")
    for target, status in [
        ("/out", 404),
        ("/up/secret", 404),
        ("/up/www/4096", 200),
        ("/in", 200),
        ("/round", 404),
        ("/fifo", 403),
        ("/sock", 403),
        ("/../secret", 400),
        ("/%2e%2E/secret", 400),
        ("/..%2fsecret", 400),
        ("/a/..%2f..%2fsecret", 400),
        ("/4096%00", 400),
        ("/4096/", 404),
        ("/4096/x", 404),
        ("//4096", 200),
        ("/./4096", 200),
        ("/%34%30%39%36", 200),
        ("/4096#x", 200),
        ("/" + "x" * 300, 404),
        ("/%ff%zz", 404),
        ("4096", 400),
        ("*", 400),
        ("?x", 400),
        ("#x", 400),
        ("x:80", 400),
        ("http:///4096", 400),
        ("http:4096", 400),
        ("http://x/4096", 200),
        ("HTTP://x:80?4096", 200),
    ]:
        assert site.get(target)[0] == status, target
    assert [entry.target for entry in site.log][0] == "/out"


def test_an_error_of_the_system_is_a_status(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status in [(PermissionError(13, "no"), 403), (OSError(24, "many"), 503), (OSError(5, "disk"), 500)]:

        def fails(*_: object, error: OSError = error) -> int:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("mbuf.http.docroot.DocRoot.open", fails)
            assert site.get("/1")[0] == status


def test_a_file_is_closed_if_its_status_cannot_be_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "disk")

    monkeypatch.setattr(response_module, "Representation", fails)
    assert site.get("/1")[0] == 500


def test_a_folder_is_its_index_or_a_listing(site: Site) -> None:
    (site.root / "some <&> folder").mkdir()
    (site.root / "some <&> folder" / "b%").mkdir()
    (site.root / "some <&> folder" / "a").write_bytes(b"")
    status, fields, _ = site.get("/some%20%3c%26%3e%20folder?x")
    assert (status, fields["location"]) == (301, "/some%20%3C%26%3E%20folder/")
    status, _, body = site.get(fields["location"])
    assert status == 200
    assert b"<title>/some &lt;&amp;&gt; folder/</title>" in body
    assert body.index(b'"./../"') < body.index(b'"./a"') < body.index(b'"./b%25/">b%/<')
    (site.root / "some <&> folder" / "index.html").write_bytes(b"<p>index")
    status, fields, body = site.get("/some%20%3c%26%3e%20folder/")
    assert (fields["content-type"], body) == ("text/html", b"<p>index")
    (site.root / "index.html").mkdir()
    assert b"index.html/" in site.get("/")[2]


def test_a_listing_has_a_bounded_number_of_names(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_module, "MAX_LISTED", 3)
    assert site.get("/")[2].count(b"<li>") == 3
    assert b"There are more" in site.get("/")[2]


def test_the_media_type_is_guessed_by_the_name(site: Site) -> None:
    for name, kind in [
        ("a.html", "text/html"),
        ("a.svgz", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ]:
        (site.root / name).write_bytes(b"x")
        assert site.get(f"/{name}")[1]["content-type"] == kind


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000, 405),
        (b"GET /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", 200),
        (b"GET /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"CONNECT [::1]:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST ftp://x/1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST ?x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"OPTIONS x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_a_bad_request_is_answered_and_its_connection_closed(site: Site, data: bytes, status: int) -> None:
    with site.connect() as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    assert parsed(received)[0] == status
    assert site.server.totals.failed == 0


def test_the_response_to_a_bad_head_request_has_no_content(site: Site) -> None:
    with site.connect() as sock:
        sock.sendall(b"HEAD /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        sock.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    assert (parsed(received)[0], parsed(received)[2]) == (400, b"")
    assert site.server.totals.failed == 0


def test_a_client_without_a_whole_request_is_disconnected_after_the_timeout(sites: Sites) -> None:
    site = sites(timeout=0.1)
    with site.connect() as silent, site.connect() as half:
        half.sendall(b"GET / HTTP/1.1\r\nHo")
        assert (silent.recv(10), half.recv(10)) == (b"", b"")


def test_a_client_that_reads_nothing_is_disconnected_after_the_timeout(sites: Sites, eventually: Eventually) -> None:
    site = sites(timeout=0.1)
    (site.root / "sparse").touch()
    os.truncate(site.root / "sparse", 200 << 20)
    with site.connect(2048) as stalled:
        stalled.sendall(b"GET /sparse HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: site.log)
        assert site.log[0].error == "timed out"


def test_fifty_stalled_clients_of_a_large_file_use_bounded_memory(sites: Sites, eventually: Eventually) -> None:
    site = sites({"kern.ipc.nmbufs": 1200, "kern.ipc.nmbclusters": 10, "kern.ipc.nmbjumbop": 4}, max_connections=60)
    stat = site.pool.stat()
    # The limit of mbufs doesn't count those that have a cluster.
    limit = stat.mbuf.limit + stat.clust.limit
    (site.root / "sparse").touch()
    os.truncate(site.root / "sparse", 200 << 20)
    (site.root / "1").write_bytes(b"1")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ExitStack() as stack:
        stalled = [stack.enter_context(site.connect(2048)) for _ in range(50)]
        for sock in stalled:
            sock.sendall(b"GET /sparse HTTP/1.1\r\nHost: x\r\n\r\n")
        for sock in stalled:
            assert sock.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        assert site.server.totals.peak <= limit
        # The stalled clients have no mbufs.
        eventually(lambda: site.pool.out == 0)
        # Another one is served meanwhile.
        assert site.get("/1")[2] == b"1"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10
        # A stalled one that reads again receives more.
        got = 12
        while got < 10 << 20:
            got += len(stalled[0].recv(1 << 20))
    eventually(lambda: len(site.log) == 51)
    eventually(lambda: site.pool.out == 0)


@contextmanager
def all_taken(pool: Pool) -> Iterator[list[Any]]:
    taken: list[Any] = []
    try:
        while True:
            taken.append(pool.get(M_NOWAIT))
    except NoBufs:
        yield taken
    finally:
        pool.free_bulk(taken)


def test_a_request_waits_for_mbufs(sites: Sites, few: Callable[..., dict[str, int]], eventually: Eventually) -> None:
    site = sites(few())
    (site.root / "big").write_bytes(BIG)
    with site.connect() as sock, all_taken(site.pool) as taken:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        eventually(lambda: site.server.totals.waits > 2)
        # Two are enough.
        site.pool.free_bulk([taken.pop() for _ in range(2)])
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    assert parsed(received)[2] == BIG


def test_a_request_waits_for_mbufs_until_the_timeout(sites: Sites, few: Callable[..., dict[str, int]]) -> None:
    site = sites(few(), timeout=0.1)
    with all_taken(site.pool):
        assert site.exchange(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert "limit" in site.log[0].error


def test_a_file_truncated_while_it_is_sent_ends_the_connection(site: Site, eventually: Eventually) -> None:
    os.truncate(site.root / "big", 64 << 20)
    with site.connect(2048) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        got = sock.recv(100)
        os.truncate(site.root / "big", 1000)
        while data := sock.recv(1 << 20):
            got += data
    eventually(lambda: site.log)
    assert len(got) < 64 << 20
    assert "big" in site.log[0].error or "shorter" in site.log[0].error
    assert site.get("/big")[2] == BIG[:1000]


CLIENT = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"GET /big HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
s.recv(1000)
print("begun", flush=True)
input()
"""


def test_clients_killed_during_a_response_leave_nothing_in_use(site: Site, eventually: Eventually) -> None:
    os.truncate(site.root / "big", 200 << 20)
    command = [sys.executable, "-c", CLIENT, str(site.port)]
    clients = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for client in clients:
        assert client.stdout is not None
        assert client.stdout.readline() == b"begun\n"
    for client in clients:
        client.send_signal(signal.SIGKILL)
        client.communicate(timeout=20)
    eventually(lambda: len(site.log) == 3)
    assert site.pool.out == 0
    assert all(entry.error for entry in site.log)


def test_clients_past_the_maximum_wait(sites: Sites) -> None:
    site = sites(max_connections=1)
    (site.root / "1").write_bytes(b"1")
    with site.connect() as first:
        first.sendall(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in first.recv(1000)
        second = site.connect()
        second.sendall(b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert site.server.totals.connections == 1
    with second:
        assert b"200" in second.recv(1000)


def test_without_descriptors_a_client_is_accepted_later(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []

    async def fails(loop: Any, sock: socket.socket) -> Any:
        if not refused:
            refused.append(sock)
            raise OSError(24, "too many open files")
        return await real(loop, sock)

    real = asyncio.SelectorEventLoop.sock_accept
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_accept", fails)
    site = sites()
    assert site.get("/nix")[0] == 404
    assert len(refused) == 1


def test_serving_a_socket_that_does_not_listen_raises_oserror(sites: Sites) -> None:
    site = sites()
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(OSError, match="Invalid argument"):
            asyncio.run(site.server.serve(sock))


def test_cancelling_serve_ends_connections_and_frees_their_mbufs(sites: Sites, eventually: Eventually) -> None:
    site = sites()
    (site.root / "big").write_bytes(b"")
    os.truncate(site.root / "big", 64 << 20)
    with site.connect(2048) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.recv(100)
        site.stop()
    assert site.log[0].error == "the server was stopped"
    assert site.pool.out == 0


def test_a_unix_socket_is_served(sites: Sites) -> None:
    site = sites()
    (site.root / "4096").write_bytes(BIG[:4096])
    server_side, client_side = socket.socketpair()
    loop, _ = site.started.result(20)
    done = asyncio.run_coroutine_threadsafe(site.server._serve_client(server_side, ""), loop)
    with client_side:
        client_side.sendall(b"GET /4096 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: client_side.recv(65536), b""))
    done.result(20)
    assert (parsed(received)[2], site.log[0].peer) == (BIG[:4096], "-")
