"""A program that ends while mbufs are in use, in any state, ends without an error."""

from collections.abc import Callable

import pytest

Program = Callable[..., str]


def test_mbufs_that_are_out_do_not_disturb_the_end(program: Program) -> None:
    program("""
        pool = Pool(Vm(1 << 24))
        m = pool.getcl().append(b"x" * 5000)
        n = m.copypacket()
        view = n.data
        lent = pool.wrap(bytearray(100), on_free=print)
        m.pkthdr.rcvif = pool
    """)


def test_a_finalizer_may_free_and_allocate_when_the_interpreter_ends(program: Program) -> None:
    out = program("""
        pool = Pool(Vm(1 << 24))
        class Last:
            def __init__(self):
                self.m = pool.getcl().append(b"last words")
                self.pool = pool
            def __del__(self):
                os.write(1, bytes(self.m))
                self.m.freem()
                try:
                    self.pool.getcl().append(bytes(3000)).freem()
                except NoBufs:
                    os.write(1, b" (none left)")
        last = Last()
        cycle = Last()
        cycle.me = cycle
    """)
    assert out.startswith("last words")


def test_a_value_of_a_tag_may_allocate_in_its_finalizer_at_the_end(program: Program) -> None:
    program("""
        pool = Pool(Vm(1 << 24))
        class Value:
            def __del__(self):
                pool.getcl().freem()
        kept = []
        for _ in range(10):
            m = pool.gethdr()
            m.tag_prepend(pool.tag_alloc(7, 1, Value()))
            kept.append(m)
        del m
    """)


@pytest.mark.parametrize("how", ["sys.exit(3)", "os._exit(3)"])
def test_daemon_threads_may_be_in_the_middle_of_anything(program: Program, how: str) -> None:
    program(
        f"""
        sys.setswitchinterval(1e-5)
        pool = Pool(Vm(1 << 24), LIMITS)
        started = threading.Barrier(5)
        def churn():
            started.wait()
            while True:
                try:
                    pool.getcl().append(bytes(3000)).freem()
                except NoBufs:
                    pool.drain()
        def wait():
            held = []
            started.wait()
            while True:
                held.append(pool.getjcl(M_WAITOK, size=16384))
        for work in (churn, churn, wait, wait):
            threading.Thread(target=work, daemon=True).start()
        started.wait()
        time.sleep(0.05)
        {how}
        """,
        status=3,
    )


def test_an_exit_handler_may_close_the_pool(program: Program) -> None:
    out = program("""
        import atexit
        pool = Pool(Vm(1 << 24))
        m = pool.getcl()
        @atexit.register
        def end():
            m.freem()
            print(pool.close())
    """)
    assert out == "0\n"


def test_threads_that_end_leave_nothing_behind(program: Program) -> None:
    program("""
        pool = Pool(Vm(1 << 26), ncpu=4)
        passed = []
        def work():
            # Fills the caches of its CPU; mbufs that it still refers to are dropped with it.
            pool.free_bulk(pool.getcl_bulk(300))
            passed.append(pool.getcl())
            held = [pool.getjcl(size=9216) for _ in range(5)]
        for _ in range(40):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert pool.out == 40, pool.out
        pool.free_bulk(passed)
        settled(pool)
        assert pool.vm.used == 0
        pool.close()
    """)


def test_a_finalizer_may_come_to_a_limit_at_the_end(program: Program) -> None:
    """Then nothing can be imported any more, and so nothing is logged."""
    out = program("""
        class Last:
            def __init__(self):
                self.pool = Pool(Vm(1 << 24), {"kern.ipc.nmbclusters": 8}, strict=False)
                self.kept = []
            def __del__(self):
                try:
                    while True:
                        self.kept.append(self.pool.getcl())
                except NoBufs:
                    os.write(1, b"denied")
                self.kept[0].ext
        last = Last()
    """)
    assert out == "denied"
