import socket
from dataclasses import replace
from pathlib import Path

import pytest

from mbuf import Inval
from mbuf.net.address import join_host_port, local_address, parse, parse_host_port

SCHEMES = "give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH"
HOST_PORT = "give HOST:PORT, or [HOST]:PORT if the host is an IPv6 address"
PORT = "give a port from 0 to 65535"
PATH = "give a path of 1 to 107 bytes"
NO_HOST = "this can't be the name of a host"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", SCHEMES),
        ("127.0.0.1:5000", SCHEMES),
        ("http://127.0.0.1:80", SCHEMES),
        ("udp://127.0.0.1", HOST_PORT),
        ("udp://:5000", HOST_PORT),
        ("tcp://::1:80", HOST_PORT),
        ("tcp://127.0.0.1:", PORT),
        ("tcp://127.0.0.1:-1", PORT),
        ("tcp://127.0.0.1:65536", PORT),
        ("tcp://127.0.0.1:" + "1" * 5000, PORT),
        ("tcp://127.0.0.1:\u0664", PORT),
        ("tcp://a..b:80", NO_HOST),
        ("unix:", PATH),
        ("unix:/" + "x" * 107, PATH),
        ("unix:/a\0b", PATH),
    ],
)
def test_an_invalid_address_raises_inval_with_the_right_form(text: str, advice: str) -> None:
    with pytest.raises(Inval) as caught:
        parse(text)
    assert str(caught.value) == f"{text}: {advice}"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", HOST_PORT),
        ("localhost", HOST_PORT),
        (":5140", HOST_PORT),
        ("::1:5140", HOST_PORT),
        ("udp://127.0.0.1:5140", HOST_PORT),
        ("127.0.0.1:", PORT),
        ("127.0.0.1:x", PORT),
        ("127.0.0.1:65536", PORT),
        ("1:²", PORT),
        ("a\udcff:1", NO_HOST),
    ],
)
def test_an_invalid_host_and_port_raise_inval_with_the_right_form(text: str, advice: str) -> None:
    with pytest.raises(Inval) as caught:
        parse_host_port(text, socket.SOCK_DGRAM)
    assert str(caught.value) == f"{text}: {advice}"


def test_an_unknown_host_raises_inval() -> None:
    with pytest.raises(Inval, match=r"^tcp://300\.1\.1\.1:80: \w"):
        parse("tcp://300.1.1.1:80")


@pytest.mark.parametrize(
    ("host", "text"), [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"), ("[::1]", "[::1]:80"), ("a.b", "a.b:80")]
)
def test_host_and_port_are_joined_with_brackets_around_an_ipv6_address(host: str, text: str) -> None:
    assert join_host_port(host, 80) == text


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:80"])
@pytest.mark.parametrize("type", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_type_is_given_where_the_text_has_no_scheme(text: str, type: socket.SocketKind) -> None:
    address = parse_host_port(text, type)
    assert (address.text, address.type, join_host_port(*address.sockaddr[:2])) == (text, type, text)


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "udp://127.0.0.1:0", "udp://[::1]:0"])
def test_a_socket_is_bound_to_the_address(text: str) -> None:
    address = parse(text)
    sock = address.listen()
    bound = local_address(sock)
    assert bound.rpartition(":")[0] == text.rpartition(":")[0]
    assert not sock.getblocking()
    with parse(bound).connect() as other:
        assert not other.getblocking()
        assert address.stream == (other.type == socket.SOCK_STREAM)
    address.close_listener(sock)


def test_listening_at_an_address_in_use_raises_inval() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Inval, match=f"^{text}: Address already in use"):
            parse(text).listen()


def test_listening_with_a_family_that_has_no_sockets_raises_inval() -> None:
    address = replace(parse("tcp://127.0.0.1:0"), family=socket.AddressFamily.AF_UNSPEC)
    with pytest.raises(Inval, match=r"^tcp://127\.0\.0\.1:0: Address family not supported"):
        address.listen()


def test_a_refused_connection_is_an_oserror_at_once_or_when_the_socket_is_writable() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with parse(f"tcp://127.0.0.1:{sock.getsockname()[1]}").connect() as other:
            other.setblocking(True)
            other.settimeout(10)
            with pytest.raises(OSError, match="refused|[Nn]ot connected|[Bb]roken"):
                other.send(b"x")


def test_close_listener_removes_the_file_of_a_unix_socket(tmp_path: Path) -> None:
    address = parse(f"unix:{tmp_path}/s")
    sock = address.listen()
    assert local_address(sock) == address.text
    address.connect().close()
    address.close_listener(sock)
    assert not list(tmp_path.iterdir())
    address.close_listener(sock)
    with pytest.raises(FileNotFoundError):
        address.connect()


def test_listen_replaces_the_file_of_a_unix_socket_at_which_no_program_listens(tmp_path: Path) -> None:
    address = parse(f"unix:{tmp_path}/s")
    address.listen().close()
    sock = address.listen()
    with pytest.raises(Inval, match="Address already in use"):
        address.listen()
    address.close_listener(sock)


def test_listen_keeps_a_file_that_is_not_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(Inval, match="Address already in use"):
        parse(f"unix:{path}").listen()
    assert path.read_text() == "mine"
