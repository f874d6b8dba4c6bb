"""After a fork, parent and child each have their own copy of the pool."""

from collections.abc import Callable

Program = Callable[..., str]


def test_what_the_child_writes_the_parent_does_not_see(program: Program) -> None:
    program("""
        with Pool(Vm(1 << 24)) as pool:
            m = pool.getcl().append(b"parent")
            view = m.data
            def child():
                m.pack("6s", 0, b"child!")
                assert bytes(view) == b"child!"
                view.release()
                m.append(bytes(5000)).freem()
                settled(pool)
                assert pool.close() == 0
            assert forked(child) == 0
            assert bytes(m) == b"parent" == bytes(view)
            view.release()
            m.freem()
            settled(pool)
    """)


def test_both_count_and_limit_for_themselves(program: Program) -> None:
    program("""
        pool = Pool(Vm(1 << 24), LIMITS)
        held = pool.getcl_bulk(10)
        def child():
            more = []
            try:
                while True:
                    more.append(pool.getcl())
            except NoBufs:
                assert len(more) == 6, more
            pool.free_bulk(more + held)
            held.clear()
            settled(pool)
        assert forked(child) == forked(child) == 0
        assert pool.out == 10
        pool.free_bulk(held)
        settled(pool)
        pool.close()
    """)


def test_lent_memory_is_given_back_in_each(program: Program) -> None:
    out = program("""
        pool = Pool(Vm(1 << 24))
        data = bytearray(b"lent")
        m = pool.wrap(data, on_free=lambda lent: os.write(1, b"back "))
        def child():
            m.freem()
            data.append(1)
            settled(pool)
        assert forked(child) == 0
        m.freem()
        settled(pool)
        pool.close()
    """)
    assert out == "back back "


def test_threads_that_allocate_leave_a_child_in_which_all_works(program: Program) -> None:
    program("""
        sys.setswitchinterval(1e-5)
        pool = Pool(Vm(1 << 24))
        stop = threading.Event()
        def work():
            while not stop.is_set():
                m = pool.getcl().append(bytes(4000))
                n = m.copypacket()
                pool.drain()
                m.freem()
                n.freem()
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        def child():
            # Items that other threads were allocating may be lost; everything else works.
            for _ in range(20):
                pool.getcl().append(bytes(5000)).freem()
            pool.drain()
            assert 0 <= pool.out <= 3 * 20, pool.out
        for _ in range(15):
            assert forked(child) == 0
        stop.set()
        for thread in threads:
            thread.join()
        settled(pool)
        pool.close()
    """)


def test_a_thread_that_waits_at_a_limit_does_not_wait_in_the_child(program: Program) -> None:
    program("""
        pool = Pool(Vm(1 << 24), LIMITS, worker=False)
        held = pool.getcl_bulk(16)
        got = []
        def wait():
            got.append(pool.getcl(M_WAITOK, timeout=30))
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: pool.stat().clust.sleeps)
        def child():
            held.pop().freem()
            # The thread that waits for this packet doesn't exist here.
            for _ in range(100):
                pool.getcl().freem()
            pool.free_bulk(held)
            settled(pool)
        assert forked(child) == 0
        held.pop().freem()
        thread.join()
        pool.free_bulk(held + got)
        settled(pool)
        pool.close()
    """)


def test_drains_run_in_a_child_of_a_process_whose_drains_were_running(program: Program) -> None:
    program("""
        pool = Pool(Vm(1 << 24), LIMITS)
        busy, go, calls = threading.Event(), threading.Event(), []
        def drain():
            calls.append(1)
            busy.set()
            go.wait(20)
        pool.drains.register(drain, "test")
        held = pool.getcl_bulk(16)
        def ask():
            try:
                pool.getcl()
            except NoBufs:
                return
            raise AssertionError("there was a cluster")
        ask()
        assert busy.wait(20)
        def child():
            go.set()
            del calls[:]
            ask()
            until(lambda: calls)
        assert forked(child) == 0
        go.set()
        pool.free_bulk(held)
        until(lambda: not any(thread.name == "mbuf reclaim" for thread in threading.enumerate()))
        settled(pool)
        pool.close()
    """)


def test_a_watch_on_memory_ends_in_the_child_and_goes_on_in_the_parent(program: Program) -> None:
    program("""
        import tempfile
        from mbuf.pool.lowmem import MemoryWatch
        from mbuf.vm.psi import PressureFile, failcnt
        from pathlib import Path
        counts = Path(tempfile.mkdtemp(), "failcnt")
        counts.write_text("0")
        pool = Pool(Vm(1 << 24), worker=False)
        seen = []
        pool.vm.lowmem.register(seen.append)
        pool.vm.lowmem_period = 0
        watch = MemoryWatch(pool.vm, [PressureFile(counts, failcnt)], 0.01)
        with watch:
            def child():
                before = len(os.listdir("/proc/self/fd"))
                watch.__exit__()
                assert len(os.listdir("/proc/self/fd")) < before
                with watch:
                    pass
            assert forked(child) == 0
            def dropping():
                # Doesn't wake the parent's thread, which waits at the same descriptors.
                watch.__del__()
            assert forked(dropping) == 0
            time.sleep(0.05)
            counts.write_text("1")
            until(lambda: seen)
        pool.close()
    """)


def test_tls_sessions_end_in_a_child_that_has_no_worker(program: Program) -> None:
    program("""
        from mbuf.net.tls.worker import KtlsWorker
        class Session:
            def __init__(self, worker):
                worker.add_session()
                self.worker = worker
            def destroy(self):
                self.worker.remove_session()
        worker = KtlsWorker()
        worker.enqueue((Session(worker), None))
        until(lambda: worker.stat().sessions == 0)
        first = Session(worker)
        def child():
            worker.enqueue((first, None))
            # The next session starts a thread, which also ends those that wait.
            worker.enqueue((Session(worker), None))
            until(lambda: worker.stat().sessions == 0)
            assert worker.close() == 0
        assert forked(child) == 0
        def closed():
            worker.enqueue((first, None))
            assert worker.close() == 0
        assert forked(closed) == 0
        worker.enqueue((first, None))
        assert worker.close() == 0
    """)


def test_a_child_may_fork_again(program: Program) -> None:
    program("""
        pool = Pool(Vm(1 << 24))
        m = pool.getcl().append(b"one")
        def grandchild():
            assert bytes(m) == b"one"
            m.freem()
            settled(pool)
        def child():
            assert forked(grandchild) == 0
            m.freem()
            settled(pool)
        assert forked(child) == 0
        m.freem()
        settled(pool)
        pool.close()
    """)
