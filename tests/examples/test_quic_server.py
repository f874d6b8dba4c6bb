"""examples/quic_server.py and aioquic's client."""

import asyncio
import datetime
import os
import ssl
from pathlib import Path

import pytest

from examples.program import lines, running

client = pytest.importorskip("aioquic.asyncio.client")
configuration = pytest.importorskip("aioquic.quic.configuration")


def make_certificate(folder: Path) -> tuple[str, str]:
    """The paths of a certificate for localhost and of its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(paths[0]), str(paths[1])


async def exchange(host: str, port: int, texts: list[bytes]) -> list[bytes]:
    """What the server sends back, each text on a stream of its own."""
    options = configuration.QuicConfiguration(alpn_protocols=["echo"], verify_mode=ssl.CERT_NONE)
    async with client.connect(host, port, configuration=options) as connection:

        async def send(text: bytes) -> bytes:
            reader, writer = await connection.create_stream()
            writer.write(text)
            writer.write_eof()
            whole: bytes = await reader.read()
            return whole

        return list(await asyncio.gather(*map(send, texts)))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_streams_come_back(tmp_path: Path, loop: str) -> None:
    pytest.importorskip(loop)
    texts = [os.urandom(1000 * n) for n in (1, 20, 300)]
    with running("quic_server.py", "127.0.0.1:0", *make_certificate(tmp_path), loop=loop) as (host, port):
        for _ in range(2):
            assert asyncio.run(asyncio.wait_for(exchange(host, int(port), texts), 60)) == texts


def test_it_is_short() -> None:
    assert lines("quic_server.py") < 80
