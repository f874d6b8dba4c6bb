"""Running tests in asyncio's event loop, and in uvloop if it is installed."""

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
    """Return a function that runs a coroutine in such a loop, for at most a minute; an error in a callback fails it."""
    if name == "uvloop" and uvloop is None:
        pytest.skip("uvloop is not installed")

    def run(main: Coroutine[Any, Any, object]) -> None:
        factory = None if uvloop is None or name != "uvloop" else uvloop.new_event_loop
        errors: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: errors.append(context))
            runner.run(asyncio.wait_for(main, 60))
        assert errors == []

    return run


async def until(condition: Callable[[], object]) -> None:
    """Run other callbacks of the loop until the condition is true."""
    while not condition():
        await asyncio.sleep(0)
