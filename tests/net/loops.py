"""The event loops that there are: asyncio's, and uvloop where it is installed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

try:
    import uvloop
except ImportError:
    uvloop = None

Run = Callable[[Coroutine[Any, Any, object]], None]


def runs(name: str) -> Run:
    """Runs a coroutine in a loop of that kind, for a minute at most; fails if the loop met an error meanwhile."""
    if name == "uvloop" and uvloop is None:
        pytest.skip("uvloop is not installed")

    def run(main: Coroutine[Any, Any, object]) -> None:
        factory = None if uvloop is None or name != "uvloop" else uvloop.new_event_loop
        told: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: told.append(context))
            runner.run(asyncio.wait_for(main, 60))
        assert told == []

    return run


async def until(holds: Callable[[], object]) -> None:
    """Let the loop go on until something is so."""
    while not holds():
        await asyncio.sleep(0)
