"""A failing port fails in one call, which changes nothing."""

import errno

import pytest

from mbuf import Inval, Pool
from mbuf.net.port.failing import Failing
from mbuf.net.port.queueport import QueuePort


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_kth_call_fails_and_the_others_do_not(pool: Pool, k: int) -> None:
    with Failing(QueuePort(), k) as port:
        sent = [pool.getcl()]
        for call in range(1, 5):
            before = len(sent), port.stat(), pool.out
            if call == k:
                with pytest.raises(OSError, match="error") as caught:
                    port.push(sent) if call % 2 else port.pull(1)
                assert caught.value.errno == errno.EIO
                assert (len(sent), port.stat(), pool.out) == before
            elif call % 2:
                port.push(sent)
            else:
                sent += port.pull(1)
        assert (port.calls, port.fileno(), dict(port.features)) == (4, -1, {})
        pool.free_bulk(sent)


def test_it_raises_the_given_error() -> None:
    with Failing(QueuePort(), 1, KeyError("k")) as port, pytest.raises(KeyError):
        port.pull(1)
    with pytest.raises(Inval, match="1 or more"):
        Failing(QueuePort(), 0)
