import logging
from collections.abc import Callable
from itertools import islice

import pytest

from mbuf import Inval
from mbuf.cli.replay.engine import Settings
from mbuf.cli.replay.output import Run
from mbuf.cli.replay.run import Job, ReplayRun
from mbuf.net.capture.capture import WINDOW, Capture
from mbuf.net.capture.pcap import IterableRecords, Records

Capturing = Callable[..., str]


class Interrupted(Capture):
    """A capture that somebody grows tired of."""

    def feed(self, sink: Callable[[Records], None]) -> None:
        sink(IterableRecords(islice(self, 3)))
        raise KeyboardInterrupt


def played(
    *paths: str,
    settings: Settings | None = None,
    loops: int = 1,
    opener: Callable[[str], Capture] = Capture,
    **limits: str,
) -> tuple[Run, list[int], list[str]]:
    """The run, what progress was told, and the complaints."""
    tunables = {f"kern.ipc.{name}": value for name, value in limits.items()}
    job = Job(paths, loops, 1 << 30, tunables, settings or Settings(descriptors=8))
    progress: list[int] = []
    complaints: list[str] = []
    run = ReplayRun(job, progress.append, complaints.append, opener).run()
    assert run.out == 0
    assert run.errors == tuple(complaints)
    return run, progress, complaints


def test_captures_are_played_one_after_the_other_again_and_again(capture: Capturing) -> None:
    paths = capture(0, 10, 20, name="a"), capture(5, 6, name="b")
    run, progress, _ = played(*paths, loops=3)
    assert (run.outcome.packets, run.outcome.when) == (15, 3 * 21_000_000)
    job = Job(paths, 3, 0, {}, Settings())
    assert progress[-1] == job.total == 3 * (24 + 3 * 76 + 24 + 2 * 76)
    assert progress == sorted(progress)


def test_progress_is_told_window_by_window(capture: Capturing) -> None:
    count = WINDOW // 76 + 1
    run, progress, _ = played(capture(*range(count)))
    assert run.outcome.packets == count
    assert len(progress) == 2


def test_ctrl_c_ends_with_what_was_read(capture: Capturing) -> None:
    run, _, _ = played(capture(*range(9)), capture(*range(9), name="b"), loops=5, opener=Interrupted)
    assert run.interrupted
    assert (run.outcome.packets, run.outcome.held, run.errors) == (3, 3, ())


def test_a_fault_keeps_what_came_before_it_and_the_other_captures(capture: Capturing) -> None:
    bad, good = capture(0, 1, 2, name="bad", tail=b"\0" * 15), capture(0, 1)
    run, _, complaints = played(bad, good, loops=3)
    assert run.outcome.packets == 15
    assert not run.interrupted
    assert complaints == [f"{bad}: offset 252: record is truncated: 15 of 16 bytes"]


def test_a_file_that_vanishes_is_a_fault(capture: Capturing) -> None:
    def gone(path: str) -> Capture:
        raise FileNotFoundError(2, "No such file or directory", path)

    path = capture(0)
    _, _, complaints = played(path, opener=gone)
    assert complaints == [f"{path}: No such file or directory"]


def test_the_console_says_what_the_kernel_would_in_capture_time(
    capture: Capturing, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(descriptors=8, hold=10)
    times = range(0, 700_000, 5_000)
    run, _, _ = played(capture(*times), settings=settings, nmbclusters="9", loops=3)
    line = "[zone: mbuf_cluster] kern.ipc.nmbclusters limit reached"
    assert {text for _, text in run.console} == {line}
    # The rate limit is one in 300 seconds, which pass in capture time.
    whens = [when for when, _ in run.console]
    assert len(whens) == 7
    assert all(later - sooner >= 300_000_000_000 for sooner, later in zip(whens, whens[1:], strict=False))
    assert caplog.text == ""
    assert logging.getLogger("mbuf").propagate
    assert logging.getLogger("mbuf").handlers == []


def test_unarmed_rings_play_nothing(capture: Capturing) -> None:
    run, progress, _ = played(capture(0, 1), nmbclusters="4")
    assert (run.outcome.packets, progress) == (0, [])
    assert run.verdict.kind == "limit"


def test_a_machine_that_cannot_be_is_refused(capture: Capturing) -> None:
    job = Job((capture(0),), 1, 1 << 62, {}, Settings())
    with pytest.raises(Inval, match="realmem"):
        ReplayRun(job, print, print).run()
