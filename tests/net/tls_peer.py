"""Both ends of a TLS 1.3 connection made with Python's `ssl` module; a `TlsSession` then sends for one of them.

Run as a program, it sends the file that is its argument from each side, and prints the cipher suite.
"""

import hashlib
import hmac
import ssl
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mbuf import M_EXTPG, Pool, Vm
from mbuf.net.tls.session import TlsSession
from mbuf.net.tls.worker import KtlsWorker

#: For each cipher suite: bytes of the key, and the hash.
SUITES = {
    "TLS_AES_128_GCM_SHA256": (16, hashlib.sha256),
    "TLS_AES_256_GCM_SHA384": (32, hashlib.sha384),
}


def expand(secret: bytes, label: bytes, count: int, digest: Any) -> bytes:
    """HKDF-Expand-Label, for at most as many bytes as the hash has. See RFC 8446, 7.1."""
    label = b"tls13 " + label
    info = count.to_bytes(2, "big") + bytes((len(label),)) + label + b"\0"
    return hmac.new(secret, info + b"\1", digest).digest()[:count]


def certify(folder: Path) -> Path:
    """A file with a key and a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime(2020, 1, 1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=36500))
    path = folder / "server.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(pem))
    return path


class Connection:
    """A server and a client after the handshake. No ticket was sent: the next record of each side is its first one."""

    def __init__(self, folder: Path) -> None:
        log = folder / "keys"
        log.unlink(missing_ok=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        context.load_cert_chain(certify(folder))
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        trusting.keylog_filename = str(log)
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.wires = {"SERVER": down, "CLIENT": up}
        self.server = context.wrap_bio(up, down, server_side=True)
        self.client = trusting.wrap_bio(down, up)
        while up.pending or down.pending or not self.client.version():
            for side in (self.client, self.server):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        self.suite = (self.client.cipher() or ("",))[0]
        lines = [line.split() for line in log.read_text().splitlines() if line[0] != "#"]
        self.secrets = {line[0]: bytes.fromhex(line[2]) for line in lines}

    def keys(self, side: str) -> tuple[bytes, bytes]:
        """The key and the IV with which `side`, SERVER or CLIENT, sends."""
        size, digest = SUITES[self.suite]
        secret = self.secrets[f"{side}_TRAFFIC_SECRET_0"]
        return expand(secret, b"key", size, digest), expand(secret, b"iv", 12, digest)

    def receive(self, side: str, stream: Any) -> bytes:
        """What the other side reads of the records that `side` sends, until the close_notify."""
        for piece in stream:
            self.wires[side].write(piece)
        peer = self.client if side == "SERVER" else self.server
        got = bytearray()
        with suppress(ssl.SSLZeroReturnError):
            while piece := peer.read(1 << 20):
                got += piece
        return bytes(got)


def send(folder: Path, side: str, path: Path, pool: Pool, worker: KtlsWorker) -> tuple[str, bytes]:
    """Send a file and a close_notify; the cipher suite, and what the peer has read."""
    peers = Connection(folder)
    with TlsSession(*peers.keys(side), worker) as tls, pool.file(path) as file:
        body = tls.encrypt(tls.frame(file.getm(maxseg=16384)))
        # The close_notify tells the peer that this is all.
        body.cat(tls.encrypt(tls.frame(pool.frombytes(b"\1\0", flags=M_EXTPG), 21)))
        with body:
            return peers.suite, peers.receive(side, body)


if __name__ == "__main__":
    with Pool(Vm(16 << 20)) as pool, KtlsWorker() as worker:
        path = Path(sys.argv[1])
        for side in ("SERVER", "CLIENT"):
            suite, got = send(path.parent, side, path, pool, worker)
            assert got == path.read_bytes()
        print(suite)
