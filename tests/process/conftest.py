"""Programs that fork, end or are interrupted, each in a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from textwrap import dedent

import pytest

#: The beginning of each program. Python 3.12 warns of a fork in a process with threads, which these tests need.
HEAD = """
import ctypes, gc, logging, os, sys, threading, time, warnings
from mbuf import M_WAITOK, Busy, NoBufs, Pool, Vm, compiled
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
logging.disable()
LIMITS = {"kern.ipc.nmbclusters": 16, "kern.ipc.nmbjumbop": 8, "kern.ipc.nmbjumbo9": 4, "kern.ipc.nmbjumbo16": 4}

def settled(pool):
    gc.collect()
    pool.drain()
    assert pool.out == 0, pool.out
    assert [zone.used for zone in pool.zones.all()] == [0] * 6
    if hasattr(pool, "audit"):
        pool.audit()

def forked(child):
    # The exit status of a child that calls a function; after an exception, which is printed, it is 1.
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "the condition never became true"
        time.sleep(0.001)
"""

Program = Callable[..., str]


def ended(code: str, status: int) -> str:
    """The output of a program, which must end with this status and print nothing on stderr."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.returncode) == ("", status)
    return done.stdout


@pytest.fixture
def program() -> Program:
    """Runs a program with the names of HEAD; returns its output."""
    return lambda code, status=0: ended(HEAD + dedent(code), status)


@pytest.fixture
def bare() -> Program:
    """Runs a program without HEAD; returns its output."""
    return lambda code: ended(code, 0)
