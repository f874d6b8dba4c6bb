"""Exceptions that are raised in an allocating thread from another one lose nothing."""

from collections.abc import Callable

import pytest

from mbuf import compiled

pytestmark = pytest.mark.skipif(not compiled(), reason="uncompiled, an exception may come in the middle of a step")

Program = Callable[..., str]

#: The thread calls these repeatedly.
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
        # A debug pool warns of each packet that was dropped.
        warnings.simplefilter("ignore", ResourceWarning)
        pool = Pool(Vm(1 << 24), worker=False{", " + kind if kind else ""})
        m = pool.getcl().append(bytes(1500))
        held, entered, hits = [], 0, 0
        stop = threading.Event()
        class Thrown(Exception):
            pass
        def act():
            {ACTS[act].replace(chr(10), chr(10) + "    ")}
        def burst():
            global entered
            entered += 1
            while not stop.is_set():
                try:
                    act()
                except NoBufs:
                    continue
        def work():
            global hits
            while not stop.is_set():
                try:
                    # The exception can only be raised in here.
                    burst()
                except Thrown:
                    hits += 1
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        for n in range(100):
            until(lambda: entered > n)
            throw(ctypes.c_ulong(thread.ident), ctypes.py_object(Thrown))
            until(lambda: hits > n)
        stop.set()
        thread.join()
        pool.free_bulk(held)
        m.freem()
        settled(pool)
        assert pool.vm.used == 0
        pool.close()
    """)
