"""What the calls of many messages are given is checked: no piece or message beyond those that there are."""

import socket
from typing import Any

import pytest

from mbuf import Pool, compiled
from mbuf.net.udp import recvmmsg, sendmmsg


@pytest.mark.parametrize(("messages", "pieces"), [(0, 1), (1, 0), (1025, 1), (1, 1025), (-1, 1)])
def test_rooms_have_bounds(messages: int, pieces: int) -> None:
    with pytest.raises(IndexError):
        recvmmsg.Inbox(messages, pieces, False)


@pytest.mark.parametrize(("messages", "pieces"), [(0, 1), (1, 0), (1025, 1), (1, (1 << 16) + 1)])
def test_outboxes_have_bounds(messages: int, pieces: int) -> None:
    with pytest.raises(IndexError):
        sendmmsg.Outbox(messages, pieces)


@pytest.mark.skipif(not compiled(), reason="uncompiled, nothing is made by hand")
def test_a_box_is_made_once() -> None:
    boxes: Any = recvmmsg.Inbox(1, 1, False), sendmmsg.Outbox(1, 1)
    for box, words in zip(boxes, ((9, 9, False), (9, 9)), strict=True):
        with pytest.raises(IndexError, match="already"):
            box.__init__(*words)
        # It believes in no more room than it has.
        assert (box.messages, box.pieces) == (1, 1)


@pytest.mark.skipif(compiled(), reason="compiled, only C can reach these")
def test_pieces_beyond_the_last_are_refused(pool: Pool) -> None:
    inbox: Any = recvmmsg.Inbox(2, 2, False)
    outbox: Any = sendmmsg.Outbox(1, 1)
    with pool.getcl() as m, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for at in (-1, 4):
            with pytest.raises(IndexError, match="no piece"):
                inbox.put(at, m)
        for count in (0, 3):
            with pytest.raises(IndexError, match="no room"):
                inbox.receive(sock, count)
        outbox.hold(m)
        assert outbox.left() == 0
        for add in (outbox.hold, outbox.lend):
            with pytest.raises(IndexError, match="another piece"):
                add(m)
        outbox.seal(0, None, 1, 0)
        with pytest.raises(IndexError, match="another message"):
            outbox.seal(0, None, 1, 0)
        outbox.clear()
        assert (outbox.count, outbox.left()) == (0, 1)
