import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mbuf.net.aio.wakeup import Wakeup
from net.loops import Run, runs


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return runs(request.param)


async def waits(made: list[Wakeup], order: list[str]) -> None:
    made.append(Wakeup())
    await made[0]
    order.append("woken")


async def waiting(order: list[str]) -> tuple[asyncio.Task[None], Wakeup]:
    made: list[Wakeup] = []
    task = asyncio.get_running_loop().create_task(waits(made, order))
    await asyncio.sleep(0)
    return task, made[0]


async def from_callback(call: Callable[..., Any]) -> None:
    asyncio.get_running_loop().call_soon(call)
    await asyncio.sleep(0)


def test_a_callback_runs_the_task_at_once(run: Run) -> None:
    async def main() -> None:
        order: list[str] = []
        task, wakeup = await waiting(order)

        def callback() -> None:
            wakeup.wake()
            order.append("behind the call")
            wakeup.wake()

        await from_callback(callback)
        assert order == ["woken", "behind the call"]
        assert wakeup.done()
        await task

    run(main())


def test_a_task_is_not_run_inside_of_another_one(run: Run) -> None:
    async def main() -> None:
        order: list[str] = []
        task, wakeup = await waiting(order)
        wakeup.wake()
        order.append("behind the call")
        await task
        assert order == ["behind the call", "woken"]

    run(main())


def test_what_is_woken_before_it_is_awaited_does_not_wait(run: Run) -> None:
    async def main() -> None:
        wakeup = Wakeup()
        wakeup.wake()
        await wakeup
        failed = Wakeup()
        failed.set_exception(OSError("lost"))
        with pytest.raises(OSError, match="lost"):
            await failed

    run(main())


@pytest.mark.parametrize("message", [None, "why"])
def test_a_task_is_cancelled_while_it_waits(run: Run, message: str | None) -> None:
    async def main() -> None:
        order: list[str] = []
        task, wakeup = await waiting(order)
        task.cancel(message)
        with pytest.raises(asyncio.CancelledError, match=message):
            await task
        assert not wakeup.cancel()
        # Bytes arrive afterwards.
        await from_callback(wakeup.wake)
        assert order == []

    run(main())


def test_a_task_that_was_woken_is_cancelled_before_it_runs(run: Run) -> None:
    async def main() -> None:
        order: list[str] = []
        task, wakeup = await waiting(order)
        wakeup.wake_soon()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert order == []

    run(main())


def test_an_exception_is_raised_where_the_task_waits(run: Run) -> None:
    async def main() -> None:
        task, wakeup = await waiting([])
        wakeup.set_exception(OSError("lost"))
        with pytest.raises(OSError, match="lost"):
            await task

    run(main())


def test_a_timeout_ends_the_wait(run: Run) -> None:
    async def main() -> None:
        task, _ = await waiting([])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(task, 0.001)

    run(main())


def test_an_exit_ends_the_loop_and_not_the_callback() -> None:
    order: list[str] = []

    async def leaves(made: list[Wakeup]) -> None:
        made.append(Wakeup())
        await made[0]
        raise SystemExit(3)

    async def main() -> None:
        made: list[Wakeup] = []
        task = asyncio.get_running_loop().create_task(leaves(made))
        await asyncio.sleep(0)

        def callback() -> None:
            made[0].wake()
            order.append("behind the call")

        asyncio.get_running_loop().call_soon(callback)
        try:
            await asyncio.Event().wait()
        finally:
            assert isinstance(task.exception(), SystemExit)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert order == ["behind the call"]
