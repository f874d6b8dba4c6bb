"""The same methods by several threads at once, under a storm of signals, and while somebody waits at a limit.

What comes of them is of no interest; that all is whole afterwards is. Each storm runs in a process of its own.
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
from random import Random
from types import FrameType
from typing import Any

from hostile.hooks import ENDS
from hostile.recipes import recipe
from hostile.run import invoke, table
from hostile.scene import STORAGE, Scene, over, roomy, scarce
from hostile.surface import Member
from mbuf import M_WAITOK, Mbuf, MbufError, NoBufs, Pool

#: Errors of a call that several threads or a signal have come into: ours, and those of arguments.
FINE = (MbufError, BufferError, TypeError, AttributeError, ValueError, OverflowError, StopIteration)


def drawn(random: Random) -> list[Member]:
    """Methods in an order of their own, without those that end a pool."""
    found = [
        member
        for name, member in table().items()
        if member.kind in ("call", "operator")
        and member.role in ("m", "q", "sb", "st", "tag", "hdr", "pool", "cl", "file")
        and name not in ENDS
        and member.name not in ("drop", "watch_memory", "cpu", "audit", "snd_tag_alloc")
        and not member.name.startswith("aget")
    ]
    random.shuffle(found)
    return found


def call(member: Member, scene: Scene) -> Any:
    """Call a method with what the scene has."""
    arguments = []
    for param in member.params:
        make = recipe(member, param)
        if make is None:
            return None
        arguments.append(make(scene))
    return invoke(member, getattr(scene, member.role), arguments, scene)


def threads(seed: int, seconds: float) -> str:
    """Threads that all call methods on one scene after the other."""
    random, pool = Random(seed), roomy()
    box = [Scene(pool, "packet")]
    end = time.monotonic() + seconds
    wrong: list[str] = []

    def work(number: int) -> None:
        mine = Random(seed * 100 + number)
        todo = drawn(mine)
        while time.monotonic() < end and not wrong:
            for member in todo:
                try:
                    call(member, box[0])
                except FINE:
                    continue
                except BaseException:
                    wrong.append(f"{member}: {traceback.format_exc()[-600:]}")
                if time.monotonic() > end:
                    return

    def renew() -> None:
        while time.monotonic() < end and not wrong:
            time.sleep(0.002)
            box[0] = Scene(pool, random.choice(list(STORAGE)))

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
    box.clear()
    return wrong[0] if wrong else ended(pool)


class Stop(Exception):
    """Raised by the handler."""


def signals(seed: int, seconds: float) -> str:
    """One thread that calls methods, and an interval timer whose handler raises."""
    random, pool = Random(seed), roomy()
    end = time.monotonic() + seconds
    count = 0

    def handler(_signal: int, frame: FrameType | None) -> None:
        nonlocal count
        # Elsewhere nothing catches it.
        while frame is not None and frame.f_code is not burst.__code__:
            frame = frame.f_back
        if frame is not None:
            count += 1
            raise Stop

    def round_() -> None:
        scene = Scene(pool, random.choice(list(STORAGE)))
        for member in todo[:60]:
            with contextlib.suppress(*FINE):
                call(member, scene)

    # A function of its own: from 3.12 on, a handler called where a loop jumps back is outside the loop's `try`.
    def burst() -> None:
        signal.setitimer(signal.ITIMER_REAL, random.random() * 0.003 + 0.0002)
        while time.monotonic() < end:
            round_()

    signal.signal(signal.SIGALRM, handler)
    try:
        while time.monotonic() < end:
            todo = drawn(random)
            try:
                burst()
            except Stop:
                continue
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ended(pool) if count > seconds * 50 else f"only {count} signals came"


def waiting(seed: int, seconds: float) -> str:
    """A method that waits at a limit in a thread, while another calls methods on the same packet."""
    random, pool = Random(seed), scarce()
    end = time.monotonic() + seconds
    able = [m for m in table().values() if m.role in ("m", "pool") and {"how", "timeout"} <= {p.name for p in m.params}]
    while time.monotonic() < end:
        scene = Scene(pool, random.choice(list(STORAGE)))
        member, others = random.choice(able), drawn(random)
        arguments = []
        for param in member.params:
            make = recipe(member, param)
            assert make is not None
            value = {"how": M_WAITOK, "timeout": 2}.get(param.name)
            arguments.append(make(scene) if value is None else value)
        subject = getattr(scene, member.role)
        held: list[Mbuf] = []
        for get in (pool.getcl, pool.getjcl, pool.get):
            with contextlib.suppress(NoBufs):
                while True:
                    held.append(get())
        done: list[Any] = []
        thread = threading.Thread(target=_wait, args=(member, subject, arguments, scene, done), daemon=True)
        thread.start()
        time.sleep(0.002)
        for other in others[:3]:
            with contextlib.suppress(*FINE):
                call(other, scene)
        pool.free_bulk(held)
        thread.join(10)
        if thread.is_alive():
            return f"hang: {member} waits for ever"
        if done and isinstance(done[0], str):
            return done[0]
        scene.made += done
        done.clear()
        arguments.clear()
        subject = None
        wrong = scene.end()
        if wrong:
            return f"{member} while {[str(other) for other in others[:3]]}: {wrong}"
    return ended(pool)


def _wait(member: Member, subject: Any, arguments: list[Any], scene: Scene, done: list[Any]) -> None:
    try:
        done.append([invoke(member, subject, arguments, scene)])
    except FINE:
        pass
    except BaseException:
        done.append(f"{member}: {traceback.format_exc()[-600:]}")


def ended(pool: Pool) -> str:
    """What is wrong with a pool that nobody uses any more."""
    gc.collect()
    wrong = over(pool)
    if wrong:
        return wrong
    pool.drain()
    pool.free_bulk(pool.getcl_bulk(20))
    pool.close()
    return f"pages: {pool.vm.used} are used after the pool was closed" if pool.vm.used else ""


STORMS: dict[str, Callable[[int, float], str]] = {"threads": threads, "signals": signals, "waiting": waiting}


def storm(name: str, seed: int, seconds: float) -> str:
    """Run one in a child process; what was wrong, nothing if all went well."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        said = "it ended early"
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            sys.unraisablehook = lambda found: None
            threading.excepthook = lambda found: None
            try:
                said = STORMS[name](seed, seconds)
            except BaseException:
                said = traceback.format_exc()[-1500:]
        finally:
            os.write(writer, said.encode()[:4000])
            os._exit(0)
    os.close(writer)
    with open(reader, "rb", buffering=0) as pipe:
        late = not select.select([pipe], [], [], seconds + 60)[0]
        if late:
            os.kill(child, signal.SIGKILL)
        text = b"" if late else pipe.read(4000) or b""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "hang: it never ended" if late else f"crash: the process ended with {code}" if code else text.decode()
