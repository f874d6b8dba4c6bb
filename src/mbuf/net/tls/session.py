"""TLS 1.3 records made of unmapped pages: kernel TLS for the sending side. See ktls(4).

`frame` makes each mbuf of unmapped pages (M_EXTPG) of a chain one record; `encrypt` encrypts them. In between, a file's
pages need not be in memory: they are read by `encrypt` only. A record is the mbuf's header, pages and trailer:

                  epg.hdr, 5 bytes           pages, 1 to 16384 bytes     epg.trail, 17 bytes
    frame         17 03 03, length           data                        zeros
    encrypt       the same                   the data encrypted          record type encrypted (1), tag of AES-GCM (16)

The header has the type that every TLS 1.3 record shows outside (23, application data), the version of TLS 1.2 (RFC
8446, 5.2), and the number of bytes behind it. AES-GCM (an AEAD, RFC 5116) encrypts the data and the record's true type,
and its tag authenticates them and the header. Its nonce is the IV of 12 bytes, XORed with the number of the record,
which counts from 0 for each key (RFC 8446, 5.3). A nonce must never be used twice with a key: an attacker who has two
records with the same nonce can compute the XOR of their data, and forge records. So numbers are given out by `frame`,
with the session's lock held, and a record is encrypted once: `frame` sets M_NOTREADY, `encrypt` requires it and clears
it. An mbuf with M_NOTREADY must not be sent.

Failing changes nothing. `frame` checks all mbufs first, then changes all. `encrypt` first encrypts all records into new
pages, which may wait, and fail if there are no pages or windows. Then, with the lock held, it checks that the chain
still is what it was, and exchanges the pages of all mbufs. The kernel encrypts pages of memory in place. Here they
get new pages, too, so views of the old ones still show the data.

References are counted as refcount(9) does, one for the maker of the session until `close`, and one for each mbuf that
is a record. They are the length of a deque, plus 1, because adding to a deque and removing from it are single steps of
the interpreter: the last record may be freed in a finalizer, where taking a lock could deadlock. The last reference is
never released there. It is given to the worker with the mbuf's item (`DeferredFree`), and the worker destroys the
session.
"""

from __future__ import annotations

from collections import deque
from operator import index
from typing import TYPE_CHECKING, Any

from mbuf.const import M_EXTPG, M_NOTREADY, M_NOWAIT, M_PKTHDR
from mbuf.errors import Busy, Freed, Inval, NotSupported
from mbuf.packet.record import check_sole_user, exchange, free_pages, hold, new_pages, payload
from mbuf.packet.source import check_how, until
from mbuf.vm.ints import integer
from mbuf.vm.lock import Lock
from mbuf.vm.unraisable import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mbuf.net.tls.worker import KtlsWorker
    from mbuf.packet.mbuf import Mbuf

#: The content type that a record shows outside, and the type of a record of data. See RFC 8446, 5.1 and 5.2.
APPLICATION_DATA = 23

#: The most bytes of data in a record; a peer refuses more.
MAX_PLAINTEXT = 16384

#: Bytes before the data: content type, version, length.
HEADER_LEN = 5

#: Bytes after the data: the record's true type, and the tag of AES-GCM.
TRAILER_LEN = 17


class TlsSession:
    """Frames and encrypts what one side of a TLS 1.3 connection sends, with AES-GCM.

    `key` has 16 or 32 bytes (AES-128 or AES-256) and `iv` 12 bytes, both from the handshake. `seqno`
    is the number of the first record. `close`, or the end of a `with` statement, ends the use of the session; records
    that are framed already may still be encrypted, sent and freed. When the last of them is freed, `worker` destroys
    the session: it drops the key, overwrites the IV, and calls `on_destroy()`, whose exceptions go to
    `sys.unraisablehook`. Make one session for each key: two would use the same nonces. Any thread may use it.

    Raises `Inval` for a wrong length of key or IV, a wrong `seqno` or `on_destroy`; TypeError if key or IV isn't
    bytes-like; `NotSupported` without the package cryptography; and `Freed` if the worker was closed.
    """

    __slots__ = ("_aead", "_iv", "_lock", "_more_refs", "_on_destroy", "_worker", "closed", "seqno")

    def __init__(
        self, key: Any, iv: Any, worker: KtlsWorker, seqno: int = 0, on_destroy: Callable[[], object] | None = None
    ) -> None:
        #: True after `close`: no more records can be framed.
        self.closed = True
        if on_destroy is not None and not callable(on_destroy):
            raise Inval("TlsSession: on_destroy must be a function, or None")
        #: The number of the next record.
        self.seqno = index(seqno)
        if not 0 <= self.seqno < 1 << 64:
            raise Inval(f"TlsSession: seqno {seqno}: give the number of the next record, 0 to 2**64 - 1")
        self._iv = bytearray(memoryview(iv))
        if len(self._iv) != 12:
            raise Inval(f"TlsSession: an IV of {len(self._iv)} bytes: give 12 bytes")
        self._aead = _aead(key)
        self._on_destroy = on_destroy
        self._worker = worker
        self._lock = Lock()
        # An element for each reference beside the first.
        self._more_refs: deque[None] = deque()
        worker.add_session()
        self.closed = False

    # References.

    @property
    def refs(self) -> int:
        """The number of references: the maker's until `close`, and one for each record; 0 if destroyed."""
        return 0 if self._aead is None else len(self._more_refs) + 1

    def ref(self) -> None:
        """Take one more reference. Only for a caller who has one. See ktls_hold."""
        self._more_refs.append(None)

    def release_if_not_last(self) -> bool:
        """Release a reference and return True; if it is the last, keep it and return False. See refcount(9)."""
        try:
            self._more_refs.pop()
        except IndexError:
            return False
        return True

    def enqueue_to_free(self, deferred: Any) -> None:
        """Give the worker the last reference, and the `DeferredFree` of its mbuf, if any. See ktls_enqueue_to_free."""
        self._worker.enqueue((self, deferred))

    def close(self) -> None:
        """Frame no more records. Those that are framed may still be encrypted, sent and freed.

        Releases the maker's reference; if it is the last, the worker destroys the session. Calling it again has no
        effect.
        """
        with self._lock:
            if self.closed:
                return
            self.closed = True
        if not self.release_if_not_last():
            self.enqueue_to_free(None)

    def destroy(self) -> None:
        """Drop the key, overwrite the IV, and call `on_destroy`. Only the worker calls this. See ktls_free."""
        self._aead = None
        self._iv[:] = bytes(len(self._iv))
        self._worker.remove_session()
        on_destroy, self._on_destroy = self._on_destroy, None
        if on_destroy is not None:
            run(on_destroy)

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
        """Make each mbuf of unmapped pages of the chain a record, and return the chain. See ktls_frame.

        `record_type` is 23 for data, 22 for handshake messages, 21 for alerts. Each record gets the next number, a
        header and a trailer, which count in `m.len` and the packet's length, a reference to the session, and
        M_NOTREADY, until `encrypt`. No page is read. Mbufs of other kinds must be empty: add headers of lower layers
        later, with `prepend`.

        Raises `Inval` for another type, for bytes outside unmapped pages, without any unmapped pages, for an mbuf that
        is a record, was trimmed, or has 0 or more than 16384 bytes, and when the numbers are used up; `Busy` if pages
        are shared; `Freed` if the session is closed. Then nothing has changed.
        """
        kind = integer(record_type, "record_type")
        if not 0 < kind < 256:
            raise Inval(f"frame: record_type {record_type}: give 23 for data, 22 for handshakes, 21 for alerts")
        with self._lock:
            if self.closed:
                raise Freed("frame: this TLS session is closed: make a new one, with a new key")
            records = [n for n in _mbufs(m, "frame") if _check_frame(n)]
            if not records:
                raise Inval("frame: the chain has no unmapped pages: get them from a file, or with M_EXTPG")
            if self.seqno > (1 << 64) - 1 - len(records):
                raise Inval("frame: this TLS session has used up its record numbers: make a new one, with a new key")
            if m.flags & M_PKTHDR:
                m.pkthdr.len += len(records) * (HEADER_LEN + TRAILER_LEN)
            for n in records:
                self._frame_record(n, kind)
        return m

    def _frame_record(self, m: Mbuf, kind: int) -> None:
        hold(m, self)
        epg = m.epg
        epg.hdr = _record_header(m.len)
        epg.trail = bytes(TRAILER_LEN)
        m.len += HEADER_LEN + TRAILER_LEN
        epg.record_type = kind
        epg.seqno = self.seqno
        self.seqno += 1
        epg.nrdy = epg.npgs
        m.flags |= M_NOTREADY

    def encrypt(self, m: Mbuf, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """Encrypt each record of the chain into new pages, clear M_NOTREADY, and return the chain. See ktls_encrypt.

        The old pages are freed. Pages of files are mapped and read. With M_WAITOK it waits for pages, up to `timeout`
        seconds. The kernel encrypts pages of memory in place; here they get new pages, too.

        Raises `NoMemory` if there are no pages; `NoBufs` if no page of a file can be mapped; `Inval` if a file has
        become shorter, or an mbuf isn't a record of this session, is encrypted already, or was changed since `frame`;
        `Busy` if pages are shared, or the chain is changed meanwhile. Then nothing has changed.
        """
        wait = check_how(how)
        deadline = until(wait, timeout)
        records = self._framed_records(m)
        pages: list[Any] = []
        trailers = []
        try:
            for n in records:
                ciphertext = self._encrypt_record(n)
                pages.append(new_pages(n, ciphertext, wait, deadline))
                trailers.append(ciphertext[-TRAILER_LEN:])
            with self._lock:
                if self._framed_records(m) != records:
                    raise Busy("encrypt: the chain was changed meanwhile")
                for n, fresh, trailer in zip(records, pages, trailers, strict=True):
                    exchange(n, fresh, trailer)
                    n.flags &= ~M_NOTREADY
        finally:
            # After an error these are the new pages, else the old ones.
            for fresh in pages:
                free_pages(fresh)
        return m

    def _framed_records(self, m: Mbuf) -> list[Mbuf]:
        """Return the records of the chain; raise an error if one isn't as `frame` left it."""
        records = [n for n in _mbufs(m, "encrypt") if n.flags & M_EXTPG]
        for n in records:
            check_sole_user(n, "encrypt")
            epg = n.epg
            if n.tls is not self:
                raise Inval("encrypt: an mbuf isn't a record of this session: call frame first")
            if not n.flags & M_NOTREADY or epg.nrdy != epg.npgs:
                raise Inval("encrypt: a record was encrypted before, or some of its pages were freed or made ready")
            if epg.hdr != _record_header(n.len - HEADER_LEN - TRAILER_LEN) or len(epg.trail) != TRAILER_LEN:
                raise Inval("encrypt: a record was changed since it was framed")
        return records

    def _encrypt_record(self, m: Mbuf) -> bytes:
        """Return the data of a record, encrypted, and the trailer. See AEAD-Encrypt in RFC 8446, 5.2."""
        epg = m.epg
        nonce = (int.from_bytes(self._iv, "big") ^ epg.seqno).to_bytes(12, "big")
        ciphertext: bytes = self._aead.encrypt(nonce, payload(m) + bytes((epg.record_type,)), epg.hdr)
        return ciphertext


def _aead(key: Any) -> Any:
    """Return AES-GCM with a key."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise NotSupported("TLS needs the package cryptography: pip install mbuf[tls]") from error
    size = memoryview(key).nbytes
    if size not in (16, 32):
        raise Inval(f"TlsSession: a key of {size} bytes: give 16 for AES-128-GCM, or 32 for AES-256-GCM")
    return AESGCM(key)


def _record_header(size: int) -> bytes:
    """Return the header of a record with `size` bytes of data."""
    return bytes((APPLICATION_DATA, 3, 3)) + (size + TRAILER_LEN).to_bytes(2, "big")


def _mbufs(m: Mbuf, verb: str) -> Iterator[Mbuf]:
    n: Mbuf | None = m
    if n is None:
        raise Inval(f"{verb}: give a chain, not None")
    while n is not None:
        yield n
        n = n.next


def _check_frame(m: Mbuf) -> bool:
    """Return True if the mbuf can become a record, and False for an empty one of another kind; else raise an error."""
    if not m.flags & M_EXTPG:
        if m.len:
            raise Inval(
                "frame: bytes that aren't in unmapped pages would be sent unencrypted: call frame first, then prepend"
            )
        return False
    check_sole_user(m, "frame")
    if m.tls is not None or m.epg.hdr or m.epg.trail:
        raise Inval("frame: an mbuf is a record already, or has a header or trailer")
    if not 0 < m.len <= MAX_PLAINTEXT:
        raise Inval(f"frame: an mbuf of {m.len} bytes: a record has 1 to {MAX_PLAINTEXT}: use maxseg of getm")
    return True
