"""One run of `mbuf replay`: the machine is built, the captures are played, everything is given back.

Opens the captures and listens to the log. What is wrong with a capture is told and remembered; what was read
of it before stays. Never prints.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from mbuf.cli.replay.advice import judge
from mbuf.cli.replay.clock import SECOND, CaptureClock
from mbuf.cli.replay.engine import Replay, Settings, flow_number
from mbuf.cli.replay.output import Run
from mbuf.cli.replay.trace import traced
from mbuf.errors import CaptureError
from mbuf.net.capture.capture import Capture
from mbuf.net.capture.pcap import Records
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm


@dataclass(frozen=True, slots=True)
class Job:
    """What to play, and on which machine."""

    captures: tuple[str, ...]
    loops: int
    physmem: int
    tunables: dict[str, int | str]
    settings: Settings

    @property
    def total(self) -> int:
        """Bytes of all captures that are to be read."""
        return self.loops * sum(os.stat(path).st_size for path in self.captures)


class ReplayRun:
    """Plays a job once: `run` it.

    `progress` is told the bytes read, now and then, `complain` what is wrong with a capture, in one line, and
    `trace`, if it is given, what probes tell, a line each.
    Raises `Inval`, before anything is played, if there can be no such machine.
    """

    def __init__(
        self,
        job: Job,
        progress: Callable[[int], object],
        complain: Callable[[str], object],
        opener: Callable[[str], Capture] = Capture,
        trace: Callable[[str], object] | None = None,
    ) -> None:
        self._job = job
        self._progress = progress
        self._complain = complain
        self._open = opener
        self._trace = trace
        self._clock = CaptureClock()
        self._done = 0
        self._errors: list[str] = []

    def run(self) -> Run:
        """Play; Ctrl-C ends that early, and is in the result."""
        job, speed = self._job, self._job.settings.speed
        vm = Vm(job.physmem, clock=lambda: self._clock.now / SECOND / speed)
        with Pool(vm, job.tunables, job.settings.ncpu, worker=False) as pool, self._watched(pool) as console:
            replay = Replay(pool, job.settings, self._clock)
            try:
                interrupted = self._play(replay)
                outcome = replay.outcome()
            finally:
                replay.finish()
            return Run(
                captures=job.captures,
                loops=job.loops,
                physmem=job.physmem,
                tunables=job.tunables,
                settings=job.settings,
                outcome=outcome,
                verdict=judge(outcome, job.settings.ncpu),
                console=tuple(console),
                errors=tuple(self._errors),
                interrupted=interrupted,
                out=pool.out,
            )

    def _play(self, replay: Replay) -> bool:
        """Play all captures, as often as wanted; True if that was interrupted."""
        try:
            if replay.arm():
                for _ in range(self._job.loops):
                    for path in self._job.captures:
                        self._play_capture(replay, path)
        except KeyboardInterrupt:
            return True
        return False

    def _play_capture(self, replay: Replay, path: str) -> None:
        try:
            with self._open(path) as capture:
                self._clock.restart()
                flow = flow_number(capture.linktype)

                def play(records: Records) -> None:
                    replay.play(records, flow)
                    self._progress(self._done + capture.position)

                capture.feed(play)
                self._done += capture.size
        except (CaptureError, OSError) as error:
            self._fault(path, error)

    def _fault(self, path: str, error: CaptureError | OSError) -> None:
        """Tell of a fault, once though it comes in every loop."""
        line = f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)
        if line not in self._errors:
            self._errors.append(line)
            self._complain(line)

    @contextmanager
    def _watched(self, pool: Pool) -> Iterator[list[tuple[int, str]]]:
        """`_console`, and the trace if one is wanted."""
        with (
            self._console() as console,
            nullcontext() if self._trace is None else traced(pool, self._clock, self._trace),
        ):
            yield console

    @contextmanager
    def _console(self) -> Iterator[list[tuple[int, str]]]:
        """What the allocator logs meanwhile, instead of where it would go."""
        lines: list[tuple[int, str]] = []
        logger = logging.getLogger("mbuf")
        handler = _Lines(lambda line: lines.append((self._clock.now, line)))
        before = logger.propagate
        logger.propagate = False
        logger.addHandler(handler)
        try:
            yield lines
        finally:
            logger.removeHandler(handler)
            logger.propagate = before


class _Lines(logging.Handler):
    """Hands log lines on."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())
