"""TLS 1.3 records: peers can read them, the session is counted, and failing changes nothing."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="TLS needs cryptography: pip install mbuf[tls]")

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chains import lens, mbufs
from mbuf import M_EXTPG, M_NOWAIT, M_WAITOK, Busy, Freed, Inval, Mbuf, NoBufs, NoMemory, NotSupported, Pool, Vm
from mbuf.const import EPG_FLAG_ANON, M_NOTREADY
from mbuf.net.tls import session as ktls
from mbuf.net.tls.session import TlsSession
from mbuf.net.tls.worker import KtlsWorker
from net import tls_peer

KEY, IV = bytes(range(16)), bytes(range(100, 112))
SIZE = 50_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def worker() -> Iterator[KtlsWorker]:
    """A worker without a thread; at the end no session is left."""
    worker = KtlsWorker(threaded=False)
    yield worker
    assert worker.close() == 0


@pytest.fixture
def tls(worker: KtlsWorker) -> Iterator[TlsSession]:
    with TlsSession(KEY, IV, worker) as tls:
        yield tls


@pytest.fixture
def chain(pool: Pool, path: Path, tls: TlsSession) -> Iterator[Mbuf]:
    """A file in mbufs that can be records; freed before the session is closed."""
    with pool.file(path) as file, file.getm(maxseg=16384) as chain:
        yield chain
    assert (pool.pages.used, pool.sfbufs.used, file.users) == (0, 0, 0)


def decrypt(stream: bytes, key: bytes = KEY, seqno: int = 0) -> list[tuple[int, bytes]]:
    """Return type and data of each record."""
    records = []
    while stream:
        assert stream[:3] == b"\x17\x03\x03"
        end = 5 + int.from_bytes(stream[3:5], "big")
        nonce = (int.from_bytes(IV, "big") ^ seqno).to_bytes(12, "big")
        data = AESGCM(key).decrypt(nonce, stream[5:end], stream[:5])
        records.append((data[-1], data[:-1]))
        stream = stream[end:]
        seqno += 1
    return records


def state(pool: Pool, chain: Mbuf) -> Any:
    """Return all that must not change after an error."""
    fields = ("hdr", "trail", "nrdy", "flags", "record_type", "seqno", "first_off", "last_len", "pages", "ext_size")
    epgs = [[getattr(m.epg, field) for field in fields] for m in mbufs(chain) if m.flags & M_EXTPG]
    return lens(chain), [(m.flags, m.tls, m.ext) for m in mbufs(chain)], epgs, pool.out, pool.pages.used


# Reading records.


@pytest.mark.parametrize("side", ["SERVER", "CLIENT"])
def test_a_peer_reads_the_file(pool: Pool, path: Path, tmp_path: Path, worker: KtlsWorker, side: str) -> None:
    suite, got = tls_peer.send(tmp_path, side, path, pool, worker)
    assert suite in tls_peer.SUITES
    assert got == path.read_bytes()
    assert pool.pages.used == 0


@pytest.mark.parametrize("suite", tls_peer.SUITES)
def test_a_peer_reads_the_file_with_either_key_length(path: Path, tmp_path: Path, suite: str) -> None:
    """Cipher suites of TLS 1.3 can be chosen only in OpenSSL's configuration, so in a process of its own."""
    conf = tmp_path / "openssl.cnf"
    conf.write_text(f"openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nCiphersuites = {suite}\n")
    command = [sys.executable, tls_peer.__file__, str(path)]
    environment = {"PYTHONPATH": ":".join(sys.path), "OPENSSL_CONF": str(conf)}
    done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == suite


@pytest.mark.parametrize("key", [KEY, KEY * 2], ids=["AES-128", "AES-256"])
@pytest.mark.parametrize(("off", "maxseg"), [(0, 16384), (100, 16384), (4095, 3), (49_999, 1), (12_345, 5000)])
def test_records_hold_the_bytes_of_the_file(
    pool: Pool, path: Path, worker: KtlsWorker, key: bytes, off: int, maxseg: int
) -> None:
    seqno = 1 << 40
    size = min(SIZE - off, maxseg * 4)
    with TlsSession(key, IV, worker, seqno) as tls, pool.file(path) as file, file.getm(off, size, maxseg=maxseg) as m:
        assert tls.encrypt(tls.frame(m)) is m
        found = decrypt(bytes(m), key, seqno)
        assert b"".join(data for _, data in found) == path.read_bytes()[off : off + size]
        assert {kind for kind, _ in found} == {23}
        # The file isn't used any more.
        assert (file.users, pool.sfbufs.mapped) == (0, 0)
    assert pool.pages.used == 0


def test_pages_of_memory_become_records(pool: Pool, tls: TlsSession) -> None:
    with pool.frombytes(b"hello", flags=M_EXTPG) as m:
        (view,) = m
        tls.encrypt(tls.frame(m, 22))
        assert decrypt(bytes(m)) == [(22, b"hello")]
        assert (bytes(view), m.epg.flags, pool.pages.used) == (b"hello", EPG_FLAG_ANON, 2)
        del view


def test_sendmsg_sends_records(chain: Mbuf, path: Path, tls: TlsSession) -> None:
    tls.encrypt(tls.frame(chain))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sent = ours.sendmsg(chain)
        got = theirs.recv(sent, socket.MSG_WAITALL)
    assert b"".join(data for _, data in decrypt(got)) == path.read_bytes()


# Framing.


def test_frame_adds_headers_and_trailers_and_sets_notready(pool: Pool, path: Path, tls: TlsSession) -> None:
    with pool.file(path) as file, pool.gethdr() as head:
        head.cat(file.getm(maxseg=16384))
        head.fixhdr()
        tls.frame(head, 23)
        records = mbufs(head)[1:]
        assert lens(head) == [0, 16406, 16406, 16406, 870]
        assert (head.pkthdr.len, len(head)) == (SIZE + 88, SIZE + 88)
        assert [(m.epg.seqno, m.epg.nrdy, m.epg.record_type) for m in records] == [
            (0, 4, 23),
            (1, 4, 23),
            (2, 4, 23),
            (3, 1, 23),
        ]
        assert all(m.flags & M_NOTREADY and m.tls is tls for m in records)
        assert (records[0].epg.hdr, records[0].epg.trail) == (b"\x17\x03\x03\x40\x11", bytes(17))
        assert (tls.seqno, tls.refs, pool.sfbufs.mapped, pool.pages.used) == (4, 5, 0, 0)
        # A header of a lower layer isn't encrypted.
        head.prepend(20)
        tls.encrypt(head)
        assert [(m.epg.nrdy, m.flags & M_NOTREADY, m.epg.flags) for m in records] == [(0, 0, EPG_FLAG_ANON)] * 4
        assert len(decrypt(bytes(head)[20:])) == 4


REFUSED: dict[str, tuple[type[Exception], str, Callable[[Pool, Mbuf], object]]] = {
    "bytes that would go out unencrypted": (Inval, "unencrypted", lambda pool, m: m.cat(pool.get().append(b"x"))),
    "a record too long": (Inval, "maxseg", lambda pool, m: m.cat(pool.frombytes(bytes(16385), flags=M_EXTPG))),
    "no byte": (Inval, "0 bytes", lambda pool, m: m.cat(pool.alloc_ext_pgs())),
    "a header": (Inval, "header", lambda pool, m: setattr(m.last().epg, "hdr", b"x") or setattr(m.last(), "len", 849)),
    "cut bytes": (Inval, "was trimmed", lambda pool, m: m.adj(-1)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_frame_refuses_what_cannot_be_a_record_and_changes_nothing(
    pool: Pool, chain: Mbuf, tls: TlsSession, what: str
) -> None:
    error, words, spoil = REFUSED[what]
    spoil(pool, chain)
    before = state(pool, chain)
    with pytest.raises(error, match=words):
        tls.frame(chain)
    assert (state(pool, chain), tls.refs, tls.seqno) == (before, 1, 0)


def test_frame_refuses_records_and_shared_pages(pool: Pool, chain: Mbuf, tls: TlsSession) -> None:
    with chain.copym(0, 5):
        before = state(pool, chain)
        with pytest.raises(Busy):
            tls.frame(chain)
        assert state(pool, chain) == before
    tls.frame(chain)
    before = state(pool, chain)
    with pytest.raises(Inval, match="already"):
        tls.frame(chain)
    assert (state(pool, chain), tls.refs) == (before, 5)


def test_frame_refuses_other_mbufs_wrong_types_and_used_up_numbers(pool: Pool, chain: Mbuf, worker: KtlsWorker) -> None:
    with TlsSession(KEY, IV, worker, (1 << 64) - 4) as tls, pool.get() as plain:
        with pytest.raises(Inval, match="no unmapped pages"):
            tls.frame(plain)
        with pytest.raises(Inval, match="not None"):
            tls.frame(None)  # type: ignore[arg-type]
        for kind in (0, 256, -1, 1 << 70):
            with pytest.raises(Inval, match="record_type"):
                tls.frame(chain, kind)
        with pytest.raises(Inval, match="used up"):
            tls.frame(chain)
        assert tls.refs == 1
    with pytest.raises(Freed, match="closed"):
        tls.frame(chain)


# Encrypting.


def spoil_trailer(m: Mbuf) -> None:
    m.epg.trail = b""
    m.len -= 17


def spoil_length(m: Mbuf) -> None:
    m.epg.last_len -= 1
    m.len -= 1


SPOILED: dict[str, Callable[[Mbuf], object]] = {
    "a flag": lambda m: setattr(m, "flags", m.flags & ~M_NOTREADY),
    "pages waited for": lambda m: setattr(m.epg, "nrdy", 0),
    "the trailer": spoil_trailer,
    "the length": spoil_length,
    "bytes cut": lambda m: m.adj(-1),
}


@pytest.mark.parametrize("what", SPOILED)
def test_encrypt_refuses_a_changed_record_and_changes_nothing(
    pool: Pool, chain: Mbuf, tls: TlsSession, what: str
) -> None:
    tls.frame(chain)
    SPOILED[what](chain.last())
    before = state(pool, chain)
    with pytest.raises(Inval):
        tls.encrypt(chain)
    assert state(pool, chain) == before


def test_encrypt_refuses_an_unknown_how_and_a_timeout_without_a_wait(pool: Pool, chain: Mbuf, tls: TlsSession) -> None:
    tls.frame(chain)
    before = state(pool, chain)
    for arguments, message in (((3,), "how 3"), ((M_NOWAIT, 1), "timeout 1: .* give how=M_WAITOK")):
        with pytest.raises(Inval, match=message):
            tls.encrypt(chain, *arguments)
    assert state(pool, chain) == before


def test_encrypt_refuses_records_of_others_and_encrypted_ones(
    pool: Pool, chain: Mbuf, tls: TlsSession, worker: KtlsWorker
) -> None:
    with pytest.raises(Inval, match="frame"):
        tls.encrypt(chain)
    tls.frame(chain)
    with TlsSession(KEY[::-1], IV, worker) as other, pytest.raises(Inval, match="this session"):
        other.encrypt(chain)
    with chain.copym(0, 20), pytest.raises(Busy):
        tls.encrypt(chain)
    tls.encrypt(chain)
    stream = bytes(chain)
    with pytest.raises(Inval, match="before"):
        tls.encrypt(chain)
    assert bytes(chain) == stream


def test_without_pages_encrypt_changes_nothing(
    make: Callable[..., Pool], path: Path, tls: TlsSession, worker: KtlsWorker
) -> None:
    pool = make(vm=Vm(realmem=4 << 20))
    with pool.file(path) as file, file.getm(maxseg=16384) as m:
        tls.frame(m)
        before, rest = bytes(m), []
        while True:
            try:
                rest.append(pool.alloc_ext_plus_pages(4096))
            except NoMemory:
                break
        for k in range(13):
            unchanged = state(pool, m)
            with pytest.raises(NoMemory):
                tls.encrypt(m, *((M_WAITOK, 0) if k % 2 else ()))
            assert (state(pool, m), bytes(m), tls.refs) == (unchanged, before, 5)
            rest.pop().free()
        tls.encrypt(m)
        assert b"".join(data for _, data in decrypt(bytes(m))) == path.read_bytes()
        pool.free_bulk(rest)
    assert pool.pages.used == 0


def test_without_a_window_encrypt_changes_nothing(make: Callable[..., Pool], path: Path, tls: TlsSession) -> None:
    pool = make(nsfbufs=1)
    with pool.file(path) as file, file.getm(maxseg=16384) as m, file.getm(8192, 100) as other:
        tls.frame(m)
        (view,) = other
        before = state(pool, m)
        with pytest.raises(NoBufs):
            tls.encrypt(m)
        assert state(pool, m) == before
        view.release()
        del view
        tls.encrypt(m)
        assert len(decrypt(bytes(m))) == 4


def test_a_truncated_file_raises_inval_and_its_records_can_be_freed(
    pool: Pool, path: Path, chain: Mbuf, tls: TlsSession, worker: KtlsWorker
) -> None:
    tls.frame(chain)
    before = state(pool, chain)
    os.truncate(path, SIZE - 1)
    with pytest.raises(Inval, match="shorter"):
        tls.encrypt(chain)
    assert (state(pool, chain), tls.refs) == (before, 5)
    rest = chain.free_notready(5)
    assert (lens(rest), tls.refs) == ([16406, 16406, 870], 4)
    assert rest is not None
    assert rest.free_notready(8) is None
    assert (tls.refs, pool.out) == (1, 0)


def test_a_chain_that_is_changed_during_encrypt_raises_busy(
    pool: Pool, chain: Mbuf, tls: TlsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls.frame(chain)
    tail = mbufs(chain)[3]

    def changing(m: Mbuf, *rest: Any) -> Any:
        mbufs(chain)[2].next = None
        return new_pages(m, *rest)

    new_pages = ktls.new_pages
    monkeypatch.setattr(ktls, "new_pages", changing)
    with pytest.raises(Busy, match="meanwhile"):
        tls.encrypt(chain)
    monkeypatch.undo()
    assert pool.pages.used == 0
    tls.encrypt(tail)
    tls.encrypt(chain)
    assert len(decrypt(bytes(chain) + bytes(tail))) == 4
    tail.free()


def test_threads_never_use_the_same_record_number(
    make: Callable[..., Pool], worker: KtlsWorker, spawn: Callable[..., Any]
) -> None:
    pool = make()
    with TlsSession(KEY, IV, worker) as tls:
        threads = [spawn(lambda: [tls.frame(pool.frombytes(b"x", flags=M_EXTPG)) for _ in range(100)]) for _ in "abc"]
        records = [m for thread in threads for m in thread.done()]
        assert sorted(m.epg.seqno for m in records) == list(range(300))
        assert tls.refs == 301
        pool.free_bulk(records)
        assert tls.refs == 1


# Destroying a session.


def test_the_last_record_frees_its_pages_and_the_worker_destroys_the_session(
    pool: Pool, path: Path, worker: KtlsWorker
) -> None:
    calls: list[Any] = []
    tls = TlsSession(bytearray(KEY), IV, worker, on_destroy=lambda: calls.append((pool.out, pool.pages.used)))
    with pool.file(path) as file:
        m = tls.encrypt(tls.frame(file.getm(maxseg=16384)))
    shared = m.copym(0, 10)
    tls.close()
    tls.close()
    m.freem()
    assert (tls.refs, pool.out, pool.pages.used, worker.stat().waiting) == (1, 2, 4, 0)
    (view,) = list(shared)[1:]
    shared.free()
    # The pages are freed, except the one that has a view; the mbuf isn't.
    assert (tls.refs, pool.out, pool.pages.used, calls) == (1, 1, 1, [])
    assert (worker.stat().sessions, worker.stat().waiting) == (1, 1)
    assert worker.run() == 1
    assert (tls.refs, pool.out, calls) == (0, 0, [(1, 1)])
    assert (worker.stat().sessions, worker.stat().destroyed) == (0, 1)
    assert repr(tls).endswith("0 references, next record 4>")
    del view
    assert pool.pages.used == 0


def test_the_worker_destroys_a_session_without_records(worker: KtlsWorker) -> None:
    calls: list[str] = []
    with TlsSession(KEY, IV, worker, on_destroy=lambda: calls.append("destroyed")) as tls:
        assert (tls.refs, tls.closed) == (1, False)
    assert (tls.refs, tls.closed, calls) == (1, True, [])
    assert (worker.run(), tls.refs, calls) == (1, 0, ["destroyed"])


def test_dropping_a_session_closes_it(pool: Pool, worker: KtlsWorker) -> None:
    calls: list[str] = []
    m = TlsSession(KEY, IV, worker, on_destroy=lambda: calls.append("destroyed")).frame(
        pool.frombytes(b"x", flags=M_EXTPG)
    )
    assert (m.tls.refs, m.tls.closed) == (2, False)
    m.free()
    # The mbuf is freed, but the session isn't destroyed in `free`.
    assert (calls, worker.stat().waiting) == ([], 1)
    assert (worker.run(), calls) == (1, ["destroyed"])


def test_an_exception_of_on_destroy_goes_to_unraisablehook(worker: KtlsWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: seen.append(report.exc_type))
    for _ in range(2):
        TlsSession(KEY, IV, worker, on_destroy=lambda: 1 // 0).close()
    assert (worker.run(), seen) == (2, [ZeroDivisionError] * 2)


def test_the_thread_destroys_sessions(pool: Pool, path: Path, eventually: Callable[..., None]) -> None:
    with KtlsWorker() as worker:
        for _ in count(1):
            with TlsSession(KEY, IV, worker) as tls, pool.file(path) as file:
                m = tls.encrypt(tls.frame(file.getm(maxseg=4096)))
            m.freem()
            if worker.stat().destroyed > 3:
                break
        eventually(lambda: worker.stat().sessions == 0)
        assert (pool.out, pool.pages.used) == (0, 0)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("key of 15", (bytes(15), IV)),
        ("key of 24", (bytes(24), IV)),
        ("IV of 8", (KEY, bytes(8))),
        ("seqno", (KEY, IV, None, -1)),
        ("seqno", (KEY, IV, None, 1 << 64)),
        ("on_destroy", (KEY, IV, None, 0, "function")),
    ],
)
def test_wrong_arguments_make_no_session(worker: KtlsWorker, words: str, arguments: tuple[Any, ...]) -> None:
    key, iv, _, *rest = (*arguments, None)[: max(3, len(arguments))]
    with pytest.raises(Inval, match=words):
        TlsSession(key, iv, worker, *rest)
    for bad in ((12, IV), (KEY, 12), (KEY, IV, 1.5)):
        with pytest.raises(TypeError):
            TlsSession(bad[0], bad[1], worker, *bad[2:])  # type: ignore[arg-type]
    assert worker.stat().sessions == 0


def test_without_cryptography_the_error_says_what_to_install(
    worker: KtlsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(NotSupported, match=r"pip install mbuf\[tls\]"):
        TlsSession(KEY, IV, worker)
