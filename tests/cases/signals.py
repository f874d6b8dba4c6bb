"""Signal handlers that raise at any moment: nothing is lost, and nothing stays busy."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable

from cases.harness import Context, case, chain, refused
from mbuf import M_EXTPG, Busy, MbufQ, NoBufs, Pool, SockBuf, Vm, compiled

#: Seconds after which a program is not interrupted again.
MAX_TIME = 10


class Stop(Exception):
    """Raised by the handler."""


def interrupt_repeatedly(work: Callable[[], object], wanted: int = 1000, interval: float = 0.0004) -> None:
    """Call it in a loop, and interrupt it `wanted` times, or fewer on a slow machine."""
    count = 0

    def handler(*_: object) -> None:
        nonlocal count
        count += 1
        raise Stop

    # A function of its own: from 3.12 on, a handler called where a loop jumps back is outside the loop's `try`.
    def burst() -> None:
        signal.setitimer(signal.ITIMER_REAL, interval, 0.05)
        while True:
            work()

    before = signal.signal(signal.SIGALRM, handler)
    end = time.monotonic() + MAX_TIME
    try:
        while count < wanted and time.monotonic() < end:
            # An exception in a finalizer is lost: another signal follows.
            try:
                try:
                    burst()
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Stop:
                pass
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, before)
    assert count > 0


def check_usable(pool: Pool) -> None:
    """Assert that the pool still works, in this thread and in another."""
    for call in (
        pool.drain,
        lambda: pool.getcl().free(),
        lambda: pool.getjcl().free(),
        lambda: pool.free_bulk(pool.getcl_bulk(100)),
    ):
        call()
    thread = threading.Thread(target=pool.drain, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "another thread waits for ever"


def nothing_left(pool: Pool) -> None:
    """Assert that nothing is in use; uncompiled, an exception in a commit may lose memory: see safety.md."""
    if compiled():
        pool.audit()
        assert (pool.out, pool.tags.count) == (0, 0)
        assert (pool.close(), pool.vm.used) == (0, 0)


def bulk_and_drain(pool: Pool) -> None:
    pool.free_bulk([pool.getcl() for _ in range(700)])
    pool.drain()


def bulk(pool: Pool) -> None:
    for m in pool.getcl_bulk(700):
        m.free()


def sizes(pool: Pool) -> None:
    for size in (2048, 4096, 9216, 16384):
        pool.free_bulk(pool.getjcl_bulk(5, size=size))
    pool.drain()


def verbs(pool: Pool) -> None:
    m = chain(pool, 100, 2000, 2000)
    m.tag_prepend(pool.tag_alloc(1, 2))
    m.copypacket().freem()
    m.prepend(150).pullup(100).adj(50).defrag()
    m.dup().freem()
    pool.free_bulk(m.segment(500))


def pages(pool: Pool) -> None:
    m = pool.frombytes(bytes(16000), flags=M_EXTPG)
    m.copym(0, 9000).freem()  # type: ignore[union-attr]
    m.freem()


def dropped(pool: Pool) -> None:
    for _ in range(200):
        chain(pool, 10, 10, 10)
        pool.wrap(bytearray(100))


def queues(pool: Pool) -> None:
    q, buffer = MbufQ(), SockBuf()
    for _ in range(100):
        q.enqueue(pool.getcl())
        buffer.append(pool.getcl().append(b"x" * 1000))
    while (m := q.dequeue()) is not None:
        m.free()
    while buffer:
        buffer.take(min(1500, len(buffer))).freem()


def at_the_limit(pool: Pool) -> None:
    held = []
    try:
        while True:
            held.append(pool.getcl())
    except NoBufs:
        pool.free_bulk(held)


WORKS = (bulk_and_drain, bulk, sizes, verbs, pages, dropped, queues, at_the_limit)


@case(each=WORKS)
def interrupted(context: Context, work: Callable[[Pool], object]) -> None:
    pool = Pool(Vm(64 << 20), worker=False)
    interrupt_repeatedly(lambda: work(pool))
    gc.collect()
    check_usable(pool)
    nothing_left(pool)


@case(each=("wait", "timeout"))
def interrupted_wait(context: Context, kind: str) -> None:
    """An interrupted wait at the limit leaves neither a waiter nor a charge."""
    pool = Pool(Vm(16 << 20), {"kern.ipc.nmbclusters": 20}, worker=False, strict=False)
    held, timeout = pool.getcl_bulk(20), None if kind == "wait" else 0.01
    interrupt_repeatedly(lambda: refused(lambda: pool.getcl(2, timeout=timeout).free(), NoBufs), interval=0.001)
    pool.free_bulk(held)
    if compiled():
        pool.free_bulk(pool.getcl_bulk(20))
        nothing_left(pool)


@case
def keyboard_interrupt(context: Context) -> None:
    """Python's own handler of SIGINT, which raises KeyboardInterrupt."""
    pool = Pool(Vm(64 << 20), worker=False)
    end = time.monotonic() + MAX_TIME
    pid, stop = os.getpid(), threading.Event()

    def press() -> None:
        while not stop.wait(0.002):
            os.kill(pid, signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    count = 0
    # A program in the background ignores SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
    except KeyboardInterrupt:
        count += 1

    def work() -> None:
        while True:
            bulk(pool)
            verbs(pool)

    def rounds(level: int) -> None:
        # An exception while another is handled ends the inner loop.
        nonlocal count
        while count < 300 and time.monotonic() < end:
            try:
                rounds(level - 1) if level else work()
            except KeyboardInterrupt:
                count += 1

    rounds(4)
    while not stop.is_set():
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stop.set()
        except KeyboardInterrupt:
            pass
    thread.join()
    assert count > 0
    gc.collect()
    check_usable(pool)
    nothing_left(pool)


@case
def handler_that_allocates(context: Context) -> None:
    """A handler that doesn't raise, but allocates, frees and drains."""
    pool = Pool(Vm(64 << 20), worker=False)
    depth = 0

    def handler(*_: object) -> None:
        nonlocal depth
        if depth == 5:
            return
        depth += 1
        try:
            pool.getcl().free()
            chain(pool, 100, 100)
            pool.drain()
        except Busy:
            pass
        finally:
            depth -= 1

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    end = time.monotonic() + 2
    try:
        while time.monotonic() < end:
            bulk(pool)
            verbs(pool)
            pages(pool)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    check_usable(pool)
    nothing_left(pool)
