import socket
from dataclasses import replace
from pathlib import Path

import pytest

from mbuf import Inval
from mbuf.net.address import parse

LINES = [
    ("", "give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH"),
    ("127.0.0.1:5000", "give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH"),
    ("http://127.0.0.1:80", "give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH"),
    ("udp://127.0.0.1", "give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH; an IPv6 address in brackets"),
    ("udp://:5000", "give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH; an IPv6 address in brackets"),
    ("tcp://::1:80", "give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH; an IPv6 address in brackets"),
    ("tcp://127.0.0.1:", "give a port from 0 to 65535"),
    ("tcp://127.0.0.1:-1", "give a port from 0 to 65535"),
    ("tcp://127.0.0.1:65536", "give a port from 0 to 65535"),
    ("tcp://127.0.0.1:" + "1" * 5000, "give a port from 0 to 65535"),
    ("tcp://127.0.0.1:\u0664", "give a port from 0 to 65535"),
    ("tcp://a..b:80", "there can be no such host"),
    ("unix:", "give a path of 1 to 107 bytes"),
    ("unix:/" + "x" * 107, "give a path of 1 to 107 bytes"),
    ("unix:/a\0b", "give a path of 1 to 107 bytes"),
]


@pytest.mark.parametrize(("text", "advice"), LINES)
def test_what_is_no_address_is_refused_with_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(Inval) as caught:
        parse(text)
    assert str(caught.value) == f"{text}: {advice}"


def test_a_host_that_is_not_known_is_told() -> None:
    with pytest.raises(Inval, match=r"^tcp://300\.1\.1\.1:80: \w"):
        parse("tcp://300.1.1.1:80")


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "udp://127.0.0.1:0", "udp://[::1]:0"])
def test_a_socket_is_bound_where_the_address_says(text: str) -> None:
    address = parse(text)
    sock = address.listen()
    found = address.at(sock)
    assert found.rpartition(":")[0] == text.rpartition(":")[0]
    assert not sock.getblocking()
    with parse(found).connect() as other:
        assert not other.getblocking()
        assert address.stream == (other.type == socket.SOCK_STREAM)
    address.unlisten(sock)


def test_an_address_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Inval, match=f"^{text}: Address already in use"):
            parse(text).listen()


def test_a_family_that_there_is_no_socket_of_is_told() -> None:
    address = replace(parse("tcp://127.0.0.1:0"), family=socket.AddressFamily.AF_UNSPEC)
    with pytest.raises(Inval, match=r"^tcp://127\.0\.0\.1:0: Address family not supported"):
        address.listen()


def test_nobody_there_is_an_oserror_at_once_or_when_it_is_writable() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with parse(f"tcp://127.0.0.1:{sock.getsockname()[1]}").connect() as other:
            other.setblocking(True)
            other.settimeout(10)
            with pytest.raises(OSError, match="refused|[Nn]ot connected|[Bb]roken"):
                other.send(b"x")


def test_a_unix_socket_leaves_no_file(tmp_path: Path) -> None:
    address = parse(f"unix:{tmp_path}/s")
    sock = address.listen()
    assert address.at(sock) == address.text
    address.connect().close()
    address.unlisten(sock)
    assert not list(tmp_path.iterdir())
    address.unlisten(sock)
    with pytest.raises(FileNotFoundError):
        address.connect()


def test_a_unix_socket_takes_the_place_of_one_where_nobody_listens(tmp_path: Path) -> None:
    address = parse(f"unix:{tmp_path}/s")
    address.listen().close()
    sock = address.listen()
    with pytest.raises(Inval, match="Address already in use"):
        address.listen()
    address.unlisten(sock)


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(Inval, match="Address already in use"):
        parse(f"unix:{path}").listen()
    assert path.read_text() == "mine"
