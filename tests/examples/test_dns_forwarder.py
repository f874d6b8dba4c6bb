"""examples/dns_forwarder.py between dnspython's client and a server of dnspython's messages."""

import socket
import threading
from collections.abc import Iterator

import pytest

from examples.program import lines, running

dns = pytest.importorskip("dns.message")
query = pytest.importorskip("dns.query")
rrset = pytest.importorskip("dns.rrset")

ADDRESS = "192.0.2.7"


class Upstream(threading.Thread):
    """Answers each query for an address, or, if its name begins with "big", with many texts; none for "silent"."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.ids: list[int] = []

    def run(self) -> None:
        while True:
            data, client = self.sock.recvfrom(65535)
            if data == b"stop":
                return
            request = dns.from_wire(data)
            self.ids.append(request.id)
            name = request.question[0].name
            response = dns.make_response(request)
            if str(name).startswith("silent"):
                # Of another id: nobody waits for it.
                response.id ^= 1
            elif str(name).startswith("big"):
                response.answer.append(rrset.from_text(name, 60, "IN", "TXT", *[f'"{n:0200}"' for n in range(15)]))
            else:
                response.answer.append(rrset.from_text(name, 60, "IN", "A", ADDRESS))
            self.sock.sendto(response.to_wire(), client)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    server.start()
    yield server
    server.sock.sendto(b"stop", server.sock.getsockname())
    server.join(20)
    server.sock.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_answers_come_back_to_each_client(upstream: Upstream, loop: str) -> None:
    pytest.importorskip(loop)
    there = "{}:{}".format(*upstream.sock.getsockname())
    with running("dns_forwarder.py", "127.0.0.1:0", there, loop=loop) as (host, port):
        requests = [dns.make_query(f"host{n}.example.", "A") for n in range(20)]
        for request in requests:
            # `query.udp` checks the id and the question of the answer.
            answer = query.udp(request, host, timeout=20, port=int(port))
            assert str(answer.answer[0][0]) == ADDRESS
        assert upstream.ids != [request.id for request in requests]
        big = query.udp(
            dns.make_query("big.example.", "TXT", use_edns=0, payload=4096), host, timeout=20, port=int(port)
        )
        assert len(big.answer[0]) == 15
        with socket.socket(type=socket.SOCK_DGRAM) as junk:
            # Neither is a message of DNS.
            junk.sendto(b"", (host, int(port)))
            junk.sendto(b"x" * 11, (host, int(port)))
        with pytest.raises(dns.dns.exception.Timeout):
            query.udp(dns.make_query("silent.example.", "A"), host, timeout=0.2, port=int(port))
        assert query.udp(requests[0], host, timeout=20, port=int(port)).answer


def test_it_is_short() -> None:
    assert lines("dns_forwarder.py") < 80
