"""examples/coap_server.py and aiocoap's client."""

import asyncio
import socket

import pytest

from examples.program import lines, running

aiocoap = pytest.importorskip("aiocoap")


async def talk(host: str, port: str) -> None:
    client = await aiocoap.Context.create_client_context(transports=["simple6"])
    try:
        uri = f"coap://{host}:{port}"

        async def ask(path: str, code: object = aiocoap.GET, payload: bytes = b"") -> bytes:
            answer = await client.request(aiocoap.Message(code=code, uri=f"{uri}/{path}", payload=payload)).response
            assert answer.code.is_successful()
            body: bytes = answer.payload
            return body

        assert await ask("note") == b"nothing yet"
        # Longer than a block: aiocoap sends it in several messages.
        await ask("note", aiocoap.PUT, b"note" * 700)
        assert await ask("note") == b"note" * 700
        assert await asyncio.gather(*(ask("note") for _ in range(20))) == [b"note" * 700] * 20
        request = client.request(aiocoap.Message(code=aiocoap.GET, uri=f"{uri}/time", observe=0))
        first = float((await request.response).payload)
        async for notification in request.observation:
            assert float(notification.payload) > first
            break
        request.observation.cancel()
    finally:
        await client.shutdown()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_client_reads_writes_and_observes(loop: str) -> None:
    pytest.importorskip(loop)
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with running("coap_server.py", f"127.0.0.1:{port}", loop=loop) as words:
        assert words == ["127.0.0.1", port]
        asyncio.run(asyncio.wait_for(talk(*words), 60))


def test_it_is_short() -> None:
    assert lines("coap_server.py") < 80
