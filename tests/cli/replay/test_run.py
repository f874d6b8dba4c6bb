import logging
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from mbuf import Inval
from mbuf.cli.replay.engine import Settings
from mbuf.cli.replay.output import ReplayResult
from mbuf.cli.replay.run import ReplayOptions, ReplayRun
from mbuf.net.capture.capture import WINDOW, Capture
from mbuf.net.capture.pcap import IterableRecords, Records

Capturing = Callable[..., str]


class Interrupted(Capture):
    """A capture with an interrupt after three packets."""

    def feed(self, sink: Callable[[Records], None]) -> None:
        sink(IterableRecords(islice(self, 3)))
        raise KeyboardInterrupt


def played(
    *paths: str,
    settings: Settings | None = None,
    loops: int = 1,
    opener: Callable[[str], Capture] = Capture,
    **limits: str,
) -> tuple[ReplayResult, list[int], list[str]]:
    """Replay captures; the result, the progress and the errors."""
    tunables = {f"kern.ipc.{name}": value for name, value in limits.items()}
    options = ReplayOptions(paths, loops, 1 << 30, tunables, settings or Settings(descriptors=8))
    progress: list[int] = []
    errors: list[str] = []
    run = ReplayRun(options, progress.append, errors.append, opener).run()
    assert run.leaked == 0
    assert run.errors == tuple(errors)
    return run, progress, errors


def test_captures_are_replayed_in_order_in_each_loop(capture: Capturing) -> None:
    paths = capture(0, 10, 20, name="a"), capture(5, 6, name="b")
    run, progress, _ = played(*paths, loops=3)
    assert (run.outcome.packets, run.outcome.when) == (15, 3 * 21_000_000)
    options = ReplayOptions(paths, 3, 0, {}, Settings())
    assert progress[-1] == options.total == 3 * (24 + 3 * 76 + 24 + 2 * 76)
    assert progress == sorted(progress)


def test_progress_is_reported_after_each_window(capture: Capturing) -> None:
    count = WINDOW // 76 + 1
    run, progress, _ = played(capture(*range(count)))
    assert run.outcome.packets == count
    assert len(progress) == 2


def test_an_interrupt_ends_with_the_result_until_then(capture: Capturing) -> None:
    run, _, _ = played(capture(*range(9)), capture(*range(9), name="b"), loops=5, opener=Interrupted)
    assert run.interrupted
    assert (run.outcome.packets, run.outcome.held, run.errors) == (3, 3, ())


def test_after_an_error_in_a_capture_the_others_are_replayed(capture: Capturing) -> None:
    bad, good = capture(0, 1, 2, name="bad", tail=b"\0" * 15), capture(0, 1)
    run, _, errors = played(bad, good, loops=3)
    assert run.outcome.packets == 15
    assert not run.interrupted
    assert errors == [f"{bad}: offset 252: record is truncated: 15 of 16 bytes"]


def test_a_capture_that_was_deleted_is_an_error(capture: Capturing) -> None:
    def gone(path: str) -> Capture:
        raise FileNotFoundError(2, "No such file or directory", path)

    path = capture(0)
    _, _, errors = played(path, opener=gone)
    assert errors == [f"{path}: No such file or directory"]


def test_a_capture_without_a_readable_packet_is_not_read_in_later_loops(capture: Capturing, tmp_path: Path) -> None:
    opened: list[str] = []

    def opener(path: str) -> Capture:
        opened.append(path)
        return Capture(path)

    bad, good = tmp_path / "bad", capture(0, 1)
    bad.write_bytes(b"no capture")
    run, _, errors = played(str(bad), good, loops=3, opener=opener)
    assert (run.outcome.packets, len(errors), opened) == (6, 1, [str(bad), good, good, good])
    opened.clear()
    run, _, _ = played(str(bad), loops=1_000_000_000, opener=opener)
    assert (run.unreadable, opened) == (True, [str(bad)])


def test_log_lines_have_their_capture_time(capture: Capturing, caplog: pytest.LogCaptureFixture) -> None:
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


def test_if_the_rings_are_not_filled_nothing_is_replayed(capture: Capturing) -> None:
    run, progress, _ = played(capture(0, 1), nmbclusters="4")
    assert (run.outcome.packets, progress) == (0, [])
    assert run.verdict.kind == "limit"


def test_an_impossible_machine_is_an_error(capture: Capturing) -> None:
    options = ReplayOptions((capture(0),), 1, 1 << 62, {}, Settings())
    with pytest.raises(Inval, match="realmem"):
        ReplayRun(options, print, print).run()
