"""A clock that only the test sets, and pairs of sockets, for the tests of paced sockets."""

import socket

SECOND = 1_000_000_000
MS = 1_000_000


class ManualClock:
    """A clock in nanoseconds that only the test sets."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now

    def advance_to(self, time: int | None) -> None:
        assert time is not None
        self.now = max(self.now, time)

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


def pair(kind: str) -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets; the first is non-blocking."""
    if kind == "unix datagrams":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    elif kind == "unix stream":
        ours, theirs = socket.socketpair()
    elif kind == "udp":
        ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (ours, theirs):
            sock.bind(("127.0.0.1", 0))
        ours.connect(theirs.getsockname())
        theirs.connect(ours.getsockname())
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs = listener.accept()[0]
    ours.setblocking(False)
    theirs.settimeout(20)
    return ours, theirs
