"""A whole replay, from its options to its result.

The machine is made, the captures are replayed, and everything is given back. If a capture has an error, the packets
before it count, and the replay goes on with the next capture; `on_error` gets a line for it. Nothing is printed here.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from mbuf.cli.replay.advice import verdict_of
from mbuf.cli.replay.clock import SECOND, CaptureClock
from mbuf.cli.replay.engine import Replay, Settings, flow_number
from mbuf.cli.replay.output import ReplayResult
from mbuf.cli.replay.trace import trace
from mbuf.errors import CaptureError
from mbuf.net.capture.capture import Capture
from mbuf.net.capture.pcap import Records
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay, how often, and on which machine."""

    captures: tuple[str, ...]
    loops: int
    #: Bytes of memory.
    physmem: int
    tunables: dict[str, int | str]
    settings: Settings

    @property
    def total(self) -> int:
        """The bytes of all captures in all loops."""
        return self.loops * sum(os.stat(path).st_size for path in self.captures)


class ReplayRun:
    """One replay. Call `run` once.

    `on_progress` gets the bytes that have been read, `on_error` a line for each error of a capture, and `on_trace`, if
    it is given, a line for each probe that fires.
    """

    def __init__(
        self,
        options: ReplayOptions,
        on_progress: Callable[[int], object],
        on_error: Callable[[str], object],
        opener: Callable[[str], Capture] = Capture,
        on_trace: Callable[[str], object] | None = None,
    ) -> None:
        self._options = options
        self._on_progress = on_progress
        self._on_error = on_error
        self._opener = opener
        self._on_trace = on_trace
        self._clock = CaptureClock()
        # Bytes of the captures that were read to their end.
        self._done = 0
        self._errors: list[str] = []

    def run(self) -> ReplayResult:
        """Replay all captures and return the result. An interrupt ends the replay early, and is in the result.

        Raises `Inval`, before a packet is replayed, if the machine isn't possible.
        """
        options = self._options
        ncpu, speed = options.settings.ncpu, options.settings.speed
        vm = Vm(options.physmem, clock=lambda: self._clock.now / SECOND / speed)
        with Pool(vm, options.tunables, ncpu, worker=False) as pool, self._log_lines() as console, self._traced(pool):
            replay = Replay(pool, options.settings, self._clock)
            try:
                interrupted = self._play(replay)
                outcome = replay.outcome()
            finally:
                replay.finish()
            return ReplayResult(
                captures=options.captures,
                loops=options.loops,
                physmem=options.physmem,
                tunables=options.tunables,
                settings=options.settings,
                outcome=outcome,
                verdict=verdict_of(outcome, ncpu),
                console=tuple(console),
                errors=tuple(self._errors),
                unreadable=bool(self._errors) and not self._done and not outcome.packets,
                interrupted=interrupted,
                leaked=pool.out,
            )

    def _play(self, replay: Replay) -> bool:
        """Replay the captures in all loops; return True if that is interrupted."""
        try:
            if replay.fill_rings():
                captures = list(self._options.captures)
                for _ in range(self._options.loops):
                    captures = [path for path in captures if self._play_capture(replay, path)]
                    if not captures:
                        break
        except KeyboardInterrupt:
            return True
        return False

    def _play_capture(self, replay: Replay, path: str) -> bool:
        """Replay a capture; return False if not a packet of it can be read, so that another loop is of no use."""
        readable = False
        try:
            with self._opener(path) as capture:
                self._clock.restart()
                flow = flow_number(capture.linktype)

                def play(records: Records) -> None:
                    nonlocal readable
                    readable = True
                    replay.play(records, flow)
                    self._on_progress(self._done + capture.position)

                capture.feed(play)
                self._done += capture.size
                return True
        except (CaptureError, OSError) as error:
            self._note_error(path, error)
        return readable

    def _note_error(self, path: str, error: CaptureError | OSError) -> None:
        """Report an error of a capture, only once although each loop has it."""
        line = f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)
        if line not in self._errors:
            self._errors.append(line)
            self._on_error(line)

    def _traced(self, pool: Pool) -> AbstractContextManager[None]:
        return nullcontext() if self._on_trace is None else trace(pool, self._clock, self._on_trace)

    @contextmanager
    def _log_lines(self) -> Iterator[list[tuple[int, str]]]:
        """Yield a list to which each line that the allocator logs is added, with its time, instead of being logged."""
        lines: list[tuple[int, str]] = []
        logger = logging.getLogger("mbuf")
        handler = _LineHandler(lambda line: lines.append((self._clock.now, line)))
        propagate = logger.propagate
        logger.propagate = False
        logger.addHandler(handler)
        try:
            yield lines
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagate


class _LineHandler(logging.Handler):
    """Calls a function with each line, in the kernel's words where there are such."""

    def __init__(self, on_line: Callable[[str], object]) -> None:
        super().__init__()
        self._on_line = on_line

    def emit(self, record: logging.LogRecord) -> None:
        self._on_line(getattr(record, "kernel", record.getMessage()))
