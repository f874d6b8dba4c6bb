"""The vectors of recvmmsg and sendmmsg check their arguments: no piece or message beyond the last one."""

import socket
import struct
from typing import Any

import pytest

from mbuf import Pool, compiled
from mbuf.net.linux import SO_TIMESTAMPING, SO_TIMESTAMPNS
from mbuf.net.udp import recvmmsg, sendmmsg


@pytest.mark.parametrize(("messages", "pieces"), [(0, 1), (1, 0), (1025, 1), (1, 1025), (-1, 1)])
def test_a_receive_vector_has_a_largest_and_a_smallest_size(messages: int, pieces: int) -> None:
    with pytest.raises(IndexError):
        recvmmsg.RecvVector(messages, pieces, False)


@pytest.mark.parametrize(("messages", "pieces"), [(0, 1), (1, 0), (1025, 1), (1, (1 << 16) + 1)])
def test_a_send_vector_has_a_largest_and_a_smallest_size(messages: int, pieces: int) -> None:
    with pytest.raises(IndexError):
        sendmmsg.SendVector(messages, pieces)


@pytest.mark.skipif(not compiled(), reason="uncompiled, any object can be initialized again")
def test_a_vector_is_initialized_once() -> None:
    vectors: Any = recvmmsg.RecvVector(1, 1, False), sendmmsg.SendVector(1, 1)
    for vector, arguments in zip(vectors, ((9, 9, False), (9, 9)), strict=True):
        with pytest.raises(IndexError, match="already"):
            vector.__init__(*arguments)
        # The size is still that of its memory.
        assert (vector.messages, vector.pieces) == (1, 1)


@pytest.mark.skipif(compiled(), reason="compiled, only C can reach these")
def test_pieces_beyond_the_last_are_refused(pool: Pool) -> None:
    rx: Any = recvmmsg.RecvVector(2, 2, False)
    tx: Any = sendmmsg.SendVector(1, 1)
    with pool.getcl() as m, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for at in (-1, 4):
            with pytest.raises(IndexError, match="no piece"):
                rx.set_buffer(at, m)
        for count in (0, 3):
            with pytest.raises(IndexError, match="no room"):
                rx.receive(sock, count)
        tx.add(m)
        assert tx.room() == 0
        for add in (tx.add, tx.add_export):
            with pytest.raises(IndexError, match="another piece"):
                add(m)
        tx.end_message(0, None, 1, 0)
        with pytest.raises(IndexError, match="another message"):
            tx.end_message(0, None, 1, 0)
        tx.clear()
        assert (tx.count, tx.room()) == (0, 1)


def test_the_time_of_the_network_card_replaces_that_of_the_system() -> None:
    system = (socket.SOL_SOCKET, SO_TIMESTAMPNS, struct.pack("=qq", 5, 6))
    card = (socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("=6q", 0, 0, 0, 0, 7, 8))
    none = (socket.SOL_SOCKET, SO_TIMESTAMPING, bytes(48))
    assert recvmmsg.parsed([system, card])[1:5:3] == (7 * 10**9 + 8, True)
    assert recvmmsg.parsed([system, none])[1:5:3] == (5 * 10**9 + 6, False)
