"""Stress tests: random methods in several threads, with many signals, and while a thread waits at a limit.

Any result of the methods is accepted; afterwards the pool must be intact. Each test runs in a process of its own.
"""

import contextlib
import gc
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from random import Random
from types import FrameType
from typing import Any

from hostile.arguments import argument_maker
from hostile.hooks import ENDS_POOL
from hostile.members import Member
from hostile.run import invoke, table
from hostile.scenario import STORAGE, Scenario, large_pool, leaks, pool_with_budget, small_pool
from mbuf import M_WAITOK, Mbuf, MbufError, NoBufs, Pool

#: Errors that a call may raise: those of mbuf, and those of wrong arguments.
EXPECTED_ERRORS = (
    MbufError,
    BufferError,
    TypeError,
    AttributeError,
    ValueError,
    IndexError,
    OverflowError,
    StopIteration,
)


def shuffled_methods(random: Random) -> list[Member]:
    """Methods in random order, without those that end a pool."""
    found = [
        member
        for name, member in table().items()
        if member.kind in ("call", "operator")
        and member.role in ("m", "q", "sb", "st", "tag", "hdr", "pool", "cl", "file")
        and name not in ENDS_POOL
        and member.name not in ("drop", "watch_memory", "publish", "cpu", "audit", "snd_tag_alloc")
        and not member.name.startswith("aget")
    ]
    random.shuffle(found)
    return found


def call(member: Member, scenario: Scenario) -> Any:
    """Call a method with arguments of the scenario."""
    arguments = []
    for param in member.params:
        make = argument_maker(member, param)
        if make is None:
            return None
        arguments.append(make(scenario))
    return invoke(member, getattr(scenario, member.role), arguments, scenario)


def threads(seed: int, seconds: float, make: Callable[[], Pool] = large_pool) -> str:
    """Several threads call methods on the same scenario, which is replaced now and then."""
    random, pool = Random(seed), make()
    current = [Scenario(pool, "packet")]
    end = time.monotonic() + seconds
    wrong: list[str] = []

    def work(number: int) -> None:
        rng = Random(seed * 100 + number)
        todo = shuffled_methods(rng)
        while time.monotonic() < end and not wrong:
            for member in todo:
                try:
                    call(member, current[0])
                except EXPECTED_ERRORS:
                    continue
                except BaseException:
                    wrong.append(f"{member}: {traceback.format_exc()[-600:]}")
                if time.monotonic() > end:
                    return

    def renew() -> None:
        while time.monotonic() < end and not wrong:
            time.sleep(0.002)
            current[0] = Scenario(pool, random.choice(list(STORAGE)))

    sys.setswitchinterval(1e-6)
    running = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(3)]
    running.append(threading.Thread(target=renew, daemon=True))
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(seconds + 30)
        if thread.is_alive():
            return "hang: a thread never ends"
    sys.setswitchinterval(0.005)
    current.clear()
    return wrong[0] if wrong else close(pool)


class Stop(Exception):
    """Raised by the handler."""


def signals(seed: int, seconds: float, make: Callable[[], Pool] = large_pool) -> str:
    """One thread calls methods, while the signal handler of an interval timer raises an exception."""
    random, pool = Random(seed), make()
    end = time.monotonic() + seconds
    count = 0

    def handler(_signal: int, frame: FrameType | None) -> None:
        nonlocal count
        # Only `burst` catches it.
        while frame is not None and frame.f_code is not burst.__code__:
            frame = frame.f_back
        if frame is not None:
            count += 1
            raise Stop

    def round_() -> None:
        scenario = Scenario(pool, random.choice(list(STORAGE)))
        for member in todo[:60]:
            with contextlib.suppress(*EXPECTED_ERRORS):
                call(member, scenario)

    # A function of its own: from 3.12 on, a handler called where a loop jumps back is outside the loop's `try`.
    def burst() -> None:
        signal.setitimer(signal.ITIMER_REAL, random.random() * 0.003 + 0.0002)
        while time.monotonic() < end:
            round_()

    signal.signal(signal.SIGALRM, handler)
    try:
        while time.monotonic() < end:
            todo = shuffled_methods(random)
            try:
                burst()
            except Stop:
                continue
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return close(pool) if count > seconds * 50 else f"only {count} signals came"


def waiting(seed: int, seconds: float, make: Callable[[], Pool] = small_pool) -> str:
    """A thread waits in a method at a limit, while this thread calls methods on the same packet."""
    random, pool = Random(seed), make()
    end = time.monotonic() + seconds
    able = [m for m in table().values() if m.role in ("m", "pool") and {"how", "timeout"} <= {p.name for p in m.params}]
    while time.monotonic() < end:
        scenario = Scenario(pool, random.choice(list(STORAGE)))
        member, others = random.choice(able), shuffled_methods(random)
        arguments = []
        for param in member.params:
            make = argument_maker(member, param)
            assert make is not None
            value = {"how": M_WAITOK, "timeout": 2}.get(param.name)
            arguments.append(make(scenario) if value is None else value)
        subject = getattr(scenario, member.role)
        held: list[Mbuf] = []
        for get in (pool.getcl, pool.getjcl, pool.get):
            with contextlib.suppress(NoBufs):
                while True:
                    held.append(get())
        done: list[Any] = []
        thread = threading.Thread(target=_wait, args=(member, subject, arguments, scenario, done), daemon=True)
        thread.start()
        time.sleep(0.002)
        for other in others[:3]:
            with contextlib.suppress(*EXPECTED_ERRORS):
                call(other, scenario)
        pool.free_bulk(held)
        thread.join(10)
        if thread.is_alive():
            return f"hang: {member} never ends"
        if done and isinstance(done[0], str):
            return done[0]
        scenario.made += done
        done.clear()
        arguments.clear()
        subject = None
        wrong = scenario.end()
        if wrong:
            return f"{member} while {[str(other) for other in others[:3]]}: {wrong}"
    return close(pool)


def _wait(member: Member, subject: Any, arguments: list[Any], scenario: Scenario, done: list[Any]) -> None:
    try:
        done.append([invoke(member, subject, arguments, scenario)])
    except EXPECTED_ERRORS:
        pass
    except BaseException:
        done.append(f"{member}: {traceback.format_exc()[-600:]}")


def close(pool: Pool) -> str:
    """Close an unused pool; returns what is wrong with it."""
    gc.collect()
    wrong = leaks(pool)
    if wrong:
        return wrong
    pool.drain()
    pool.free_bulk(pool.getcl_bulk(20))
    pool.close()
    return f"pages: {pool.vm.used} are used after the pool was closed" if pool.vm.used else ""


STRESS_TESTS: dict[str, Callable[[int, float], str]] = {
    "threads": threads,
    "signals": signals,
    "waiting": waiting,
    "threads with a budget": partial(threads, make=pool_with_budget),
    "signals with a budget": partial(signals, make=pool_with_budget),
    "waiting with a budget": partial(waiting, make=pool_with_budget),
}


def run_in_child(name: str, seed: int, seconds: float) -> str:
    """Run a test in a child process; returns what was wrong, empty if nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        text = "the process ended early"
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            sys.unraisablehook = lambda found: None
            threading.excepthook = lambda found: None
            try:
                text = STRESS_TESTS[name](seed, seconds)
            except BaseException:
                text = traceback.format_exc()[-1500:]
        finally:
            os.write(writer, text.encode()[:4000])
            os._exit(0)
    os.close(writer)
    with open(reader, "rb", buffering=0) as pipe:
        late = not select.select([pipe], [], [], seconds + 60)[0]
        if late:
            os.kill(child, signal.SIGKILL)
        text = b"" if late else pipe.read(4000) or b""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (
        "hang: the process never ended" if late else f"crash: the process ended with {code}" if code else text.decode()
    )
