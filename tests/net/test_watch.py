"""Watching a duplicate of a descriptor."""

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from mbuf.net.watch import Watch
from net.loops import Run, until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        yield near, far


def test_callbacks_are_called_until_they_are_removed(run: Run, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    calls: list[str] = []

    async def main() -> None:
        watch = Watch(asyncio.get_running_loop(), near.fileno())
        watch.add_writer(calls.append, "writable")
        await until(lambda: "writable" in calls)
        watch.remove_writer()
        watch.remove_writer()
        far.send(b"x")
        watch.add_reader(lambda: calls.append("readable"))
        await until(lambda: "readable" in calls)
        watch.remove_reader()
        watch.remove_reader()
        calls.clear()
        for _ in range(5):
            await asyncio.sleep(0)
        assert calls == []
        watch.close()

    run(main())


def test_close_stops_all_and_closes_the_duplicate(run: Run, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    calls: list[str] = []

    async def main() -> None:
        before = os.listdir("/proc/self/fd")
        watch = Watch(asyncio.get_running_loop(), near.fileno())
        watch.add_reader(lambda: calls.append("readable"))
        watch.add_writer(calls.append, "writable")
        watch.close()
        watch.close()
        far.send(b"x")
        for _ in range(5):
            await asyncio.sleep(0)
        assert (calls, os.listdir("/proc/self/fd")) == ([], before)

    run(main())


def test_a_socket_with_the_number_of_a_closed_one_is_another(
    run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, _ = pair
    calls: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        watch = Watch(loop, near.fileno())
        watch.add_reader(lambda: calls.append("closed"))
        watch.add_writer(lambda: None)
        number = near.fileno()
        near.close()
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            assert other.fileno() == number
            loop.add_writer(other, calls.append, "other")
            watch.close()
            await until(lambda: calls)
            assert calls[0] == "other"
            loop.remove_writer(other)

    run(main())


def test_what_is_dropped_after_its_loop_leaves_no_descriptor(pair: tuple[socket.socket, socket.socket]) -> None:
    before = os.listdir("/proc/self/fd")
    loop = asyncio.new_event_loop()
    watch = Watch(loop, pair[0].fileno())
    watch.add_reader(lambda: None)
    loop.close()
    del watch
    assert os.listdir("/proc/self/fd") == before


def test_a_closed_descriptor_is_refused() -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(OSError, match="Bad file descriptor"):
        Watch(loop, -1)
    loop.close()


def test_a_descriptor_is_watched_on_after_an_error(run: Run) -> None:
    calls: list[str] = []

    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
            for sock in (near, far):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            with socket.socket(type=socket.SOCK_DGRAM) as gone:
                gone.bind(("127.0.0.1", 0))
                near.connect(gone.getsockname())

            def readable() -> None:
                try:
                    calls.append(near.recv(10).decode())
                except OSError as error:
                    calls.append(type(error).__name__)

            watch = Watch(asyncio.get_running_loop(), near.fileno())
            watch.add_reader(readable)
            near.send(b"refused")
            await until(lambda: calls)
            near.connect(far.getsockname())
            for n in range(3):
                far.sendto(b"%d" % n, near.getsockname())
                await until(lambda: len(calls) > 1)
                assert calls.pop() == str(n)
            assert calls == ["ConnectionRefusedError"]
            watch.close()

    run(main())
