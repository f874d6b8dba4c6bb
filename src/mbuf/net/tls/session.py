"""Unmapped pages as TLS 1.3 records: files go out encrypted, and are read only for that.

A session numbers, frames and encrypts what one side of a connection sends; it never sees a socket. Its
references are counted as refcount(9) does. The last one goes to a worker, which destroys the session.
"""

from __future__ import annotations

from collections import deque
from operator import index
from typing import TYPE_CHECKING, Any

from mbuf.const import M_EXTPG, M_NOTREADY, M_NOWAIT, M_PKTHDR
from mbuf.errors import Busy, Freed, Inval, NotSupported
from mbuf.packet.record import check_sole_user, exchange, free_pages, hold, new_pages, payload
from mbuf.packet.source import until
from mbuf.vm.ints import clip
from mbuf.vm.lock import Lock
from mbuf.vm.unraisable import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mbuf.net.tls.worker import KtlsWorker
    from mbuf.packet.mbuf import Mbuf

#: What a record holds; this is the type that each shows outside. See RFC 8446, 5.2.
APPLICATION_DATA = 23

#: Bytes of data in a record at most; a peer refuses more.
MAX_FRAME = 16384

#: Bytes in front of the data: that type, the version of TLS 1.2, the length of what follows.
HEADER = 5

#: Bytes behind the data: its true type, encrypted too, and the tag of AES-GCM.
TRAILER = 17


class TlsSession:
    """What one side of a TLS 1.3 connection needs to send: AES-GCM with a key of 16 or 32 bytes, and a 12 byte IV.

    `seqno` is the number of the next record. `close` lets go of it, or a `with` statement; when no mbuf is a record
    of it any more either, `worker` destroys it and calls `on_destroy()`. No number may be used twice with one key:
    make one session for each. Any thread may use it.
    """

    __slots__ = ("_aead", "_iv", "_lock", "_more", "_on_destroy", "_worker", "closed", "seqno")

    def __init__(
        self, key: Any, iv: Any, worker: KtlsWorker, seqno: int = 0, on_destroy: Callable[[], object] | None = None
    ) -> None:
        #: True when it frames no more.
        self.closed = True
        if on_destroy is not None and not callable(on_destroy):
            raise Inval("TlsSession: on_destroy must be a function to call, or None")
        #: The number of the next record.
        self.seqno = index(seqno)
        if not 0 <= self.seqno < 1 << 64:
            raise Inval(f"TlsSession: seqno {seqno}: give the number of the next record, of 64 bits")
        self._iv = bytearray(memoryview(iv))
        if len(self._iv) != 12:
            raise Inval(f"TlsSession: an IV of {len(self._iv)} bytes: give 12")
        self._aead = _aead(key)
        self._on_destroy = on_destroy
        self._worker = worker
        self._lock = Lock()
        # References beside the first: to add and take one is one step for the interpreter.
        self._more: deque[None] = deque()
        worker.enter()
        self.closed = False

    # References.

    @property
    def refs(self) -> int:
        """References: its maker's, until `close`, and one for each mbuf that is a record of it; 0 when destroyed."""
        return 0 if self._aead is None else len(self._more) + 1

    def ref(self) -> None:
        """One reference more, for somebody who can name the session. See ktls_hold."""
        self._more.append(None)

    def release_if_not_last(self) -> bool:
        """One reference less, and true; false if it is the last, which stays. See refcount(9)."""
        try:
            self._more.pop()
        except IndexError:
            return False
        return True

    def enqueue_to_free(self, remains: Any) -> None:
        """Hand the last reference over, with what is left of the mbuf that had it. See ktls_enqueue_to_free."""
        self._worker.enqueue((self, remains))

    def close(self) -> None:
        """Frame no more. What is framed may still be encrypted, sent and freed."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        if not self.release_if_not_last():
            self.enqueue_to_free(None)

    def destroy(self) -> None:
        """The worker's: forget the keys, and tell. See ktls_free."""
        self._aead = None
        self._iv[:] = bytes(len(self._iv))
        self._worker.leave()
        told, self._on_destroy = self._on_destroy, None
        if told is not None:
            run(told)

    def __enter__(self) -> TlsSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            self.close()

    def __repr__(self) -> str:
        return f"<TlsSession {id(self):#x} {self.refs} references, next record {self.seqno}>"

    # Records.

    def frame(self, m: Mbuf, record_type: int = APPLICATION_DATA) -> Mbuf:
        """Make each mbuf of unmapped pages of the chain a record, with header and trailer. See ktls_frame.

        These count in the mbufs' lengths and the packet's. The records wait for `encrypt`, with M_NOTREADY: don't
        send them before. Mbufs of other kinds must be empty: add headers later. Raises `Inval`, or `Busy` where
        pages are shared, and then nothing has changed. Returns the chain.
        """
        kind = clip(record_type)
        if not 0 < kind < 256:
            raise Inval(f"frame: record_type {record_type}: give 23 for data, 22 for handshakes, 21 for alerts")
        with self._lock:
            if self.closed:
                raise Freed("frame: this TLS session was closed")
            records = [n for n in _mbufs(m) if _framable(n)]
            if not records:
                raise Inval("frame: there are no unmapped pages: get them from a file, or with M_EXTPG")
            if self.seqno > (1 << 64) - 1 - len(records):
                raise Inval("frame: this TLS session has used up its numbers: change the key")
            if m.flags & M_PKTHDR:
                m.pkthdr.len += len(records) * (HEADER + TRAILER)
            for n in records:
                self._frame(n, kind)
        return m

    def _frame(self, m: Mbuf, kind: int) -> None:
        hold(m, self)
        epg = m.epg
        epg.hdr = _header(m.len)
        epg.trail = bytes(TRAILER)
        m.len += HEADER + TRAILER
        epg.record_type = kind
        epg.seqno = self.seqno
        self.seqno += 1
        epg.nrdy = epg.npgs
        m.flags |= M_NOTREADY

    def encrypt(self, m: Mbuf, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """Encrypt each record of the chain into new pages in memory; the old ones are freed. See ktls_encrypt.

        Pages of files are mapped and read for it. Where the kernel encrypts pages in memory in place, they get new ones
        too. Raises `NoMemory`, `NoBufs` when no window is left, `Inval` where a file was cut short or a record isn't
        as `frame` left it, `Busy` where pages are shared, and then nothing has changed. Returns the chain.
        """
        deadline = until(how, timeout)
        records = self._framed(m)
        pages: list[Any] = []
        trails = []
        try:
            for n in records:
                sealed = self._seal(n)
                pages.append(new_pages(n, sealed, clip(how), deadline))
                trails.append(sealed[-TRAILER:])
            with self._lock:
                if self._framed(m) != records:
                    raise Busy("encrypt: the chain was changed meanwhile")
                for n, fresh, trail in zip(records, pages, trails, strict=True):
                    exchange(n, fresh, trail)
                    n.flags &= ~M_NOTREADY
        finally:
            # The new pages, or if all went well, the old ones.
            for fresh in pages:
                free_pages(fresh)
        return m

    def _framed(self, m: Mbuf) -> list[Mbuf]:
        """The records of the chain, each as `frame` left it."""
        records = [n for n in _mbufs(m) if n.flags & M_EXTPG]
        for n in records:
            check_sole_user(n, "encrypt")
            epg = n.epg
            if n.tls is not self:
                raise Inval("encrypt: an mbuf is no record of this session: frame the chain first")
            if not n.flags & M_NOTREADY or epg.nrdy != epg.npgs:
                raise Inval("encrypt: a record was encrypted before, or pages of it are waited for no more")
            if epg.hdr != _header(n.len - HEADER - TRAILER) or len(epg.trail) != TRAILER:
                raise Inval("encrypt: a record was changed since it was framed")
        return records

    def _seal(self, m: Mbuf) -> bytes:
        """The data of a record, encrypted, and the trailer."""
        epg = m.epg
        nonce = int.from_bytes(self._iv, "big") ^ epg.seqno
        sealed: bytes = self._aead.encrypt(nonce.to_bytes(12, "big"), payload(m) + bytes((epg.record_type,)), epg.hdr)
        return sealed


def _aead(key: Any) -> Any:
    """AES-GCM with a key."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise NotSupported("TLS needs the package cryptography: pip install mbuf[tls]") from error
    size = memoryview(key).nbytes
    if size not in (16, 32):
        raise Inval(f"TlsSession: a key of {size} bytes: give 16 for AES-128-GCM, or 32 for AES-256-GCM")
    return AESGCM(key)


def _header(count: int) -> bytes:
    """What is in front of `count` bytes of data."""
    return bytes((APPLICATION_DATA, 3, 3)) + (count + TRAILER).to_bytes(2, "big")


def _mbufs(m: Mbuf) -> Iterator[Mbuf]:
    n: Mbuf | None = m
    if n is None:
        raise Inval("TLS: there is no mbuf")
    while n is not None:
        yield n
        n = n.next


def _framable(m: Mbuf) -> bool:
    """Whether an mbuf will be a record; false for an empty one of another kind."""
    if not m.flags & M_EXTPG:
        if m.len:
            raise Inval(
                "frame: bytes that are not in unmapped pages would go out unencrypted: frame first, then prepend"
            )
        return False
    check_sole_user(m, "frame")
    if m.tls is not None or m.epg.hdr or m.epg.trail:
        raise Inval("frame: an mbuf is a record already, or has a header or trailer")
    if not 0 < m.len <= MAX_FRAME:
        raise Inval(f"frame: an mbuf of {m.len} bytes: a record has 1 to {MAX_FRAME}: see maxseg of getm")
    return True
