"""Exceptions that another thread throws into one that allocates lose nothing."""

from collections.abc import Callable

import pytest

from mbuf import compiled

pytestmark = pytest.mark.skipif(not compiled(), reason="uncompiled, an exception may come in the middle of a step")

Program = Callable[..., str]

#: What the thread does again and again.
ACTS = {
    "packets": "pool.getcl().append(b'x' * 100).freem()",
    "held": "held.append(pool.getcl())\n        if len(held) > 50: pool.free_bulk(held)",
    "bulk": "pool.free_bulk(pool.getcl_bulk(64))",
    "chains": "pool.getm2(40000).freem()",
    "copies": "m.copypacket().freem()",
    "appended": "pool.getcl().append(bytes(9000)).freem()",
    "drained": "pool.getcl().freem()\n        pool.drain()",
    "waiting": "pool.getjcl(M_WAITOK, size=16384, timeout=0.0001).freem()",
}


@pytest.mark.parametrize(
    ("act", "kind"),
    [*((act, "") for act in ACTS), ("packets", "debug=True"), ("packets", "caching=False"), ("held", "ncpu=2")],
)
def test_nothing_is_lost(program: Program, act: str, kind: str) -> None:
    program(f"""
        sys.setswitchinterval(1e-5)
        pool = Pool(Vm(1 << 24), worker=False{", " + kind if kind else ""})
        m = pool.getcl().append(bytes(1500))
        held, hits = [], [0]
        ready, stop = threading.Event(), threading.Event()
        class Thrown(Exception):
            pass
        def work():
            while not stop.is_set():
                try:
                    ready.set()
                    while not stop.is_set():
                        act()
                except Thrown:
                    hits[0] += 1
                except NoBufs:
                    pass
        def act():
            {ACTS[act].replace(chr(10), chr(10) + "    ")}
        def run():
            while True:
                try:
                    return work()
                except Thrown:
                    hits[0] += 1
        thread = threading.Thread(target=run)
        thread.start()
        ready.wait()
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        for _ in range(200):
            throw(ctypes.c_ulong(thread.ident), ctypes.py_object(Thrown))
            time.sleep(0.0001)
        until(lambda: hits[0] > 20)
        stop.set()
        thread.join()
        pool.free_bulk(held)
        m.freem()
        settled(pool)
        assert pool.vm.used == 0
        pool.close()
    """)
