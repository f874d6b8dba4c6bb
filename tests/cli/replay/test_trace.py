from collections.abc import Callable

import pytest

from mbuf import Pool
from mbuf.cli.replay.clock import CaptureClock
from mbuf.cli.replay.engine import Settings
from mbuf.cli.replay.run import ReplayOptions, ReplayRun
from mbuf.cli.replay.trace import format_arg, trace
from mbuf.const import EXT_CLUSTER, M_EOR, M_NOWAIT, M_PKTHDR, M_WAITOK, MT_DATA, MT_HEADER
from mbuf.pool.probes import PROBES

Make = Callable[..., Pool]
Capturing = Callable[..., str]


def test_each_probe_that_fires_is_a_line_below_a_heading(make: Make) -> None:
    pool = make()
    lines: list[str] = []
    with trace(pool, CaptureClock(), lines.append):
        m = pool.getcl()
        at = f"{m.id:#x}"
        m.freem()
    assert lines == [
        "     SECONDS CPU PROBE    ARGUMENTS",
        f"    0.000000   0 m-init   m={at} how=M_NOWAIT type=MT_DATA flags=M_PKTHDR error=0",
        f"    0.000000   0 m-getcl  how=M_NOWAIT type=MT_DATA flags=M_PKTHDR m={at}",
        f"    0.000000   0 m-freem  m={at}",
        f"    0.000000   0 m-free   m={at}",
    ]
    assert not pool.probes.on


def test_constants_are_printed_by_name() -> None:
    getjcl, cljset = PROBES["m-getjcl"], PROBES["m-cljset"]
    assert [format_arg(getjcl, "how", how) for how in (M_NOWAIT, M_WAITOK)] == ["M_NOWAIT", "M_WAITOK"]
    assert [format_arg(getjcl, "type", kind) for kind in (MT_DATA, MT_HEADER, 77)] == ["MT_DATA", "MT_DATA", "type 77"]
    assert [format_arg(getjcl, "flags", bits) for bits in (0, M_PKTHDR, M_EOR)] == ["0", "M_PKTHDR", "M_EOR"]
    assert format_arg(cljset, "type", EXT_CLUSTER) == "EXT_CLUSTER"
    assert [format_arg(getjcl, "size", 4096), format_arg(getjcl, "m", None)] == ["4096", "NULL"]


def test_the_trace_of_a_replay_has_each_mbuf_allocated_and_freed(capture: Capturing) -> None:
    lines: list[str] = []
    options = ReplayOptions((capture(0, 1, 2),), 1, 1 << 30, {}, Settings(descriptors=2, hold=0.0015))
    run = ReplayRun(options, lambda _: None, lambda _: None, on_trace=lines.append).run()
    probes = [line.split()[2] for line in lines[1:]]
    assert (run.outcome.packets, run.leaked) == (3, 0)
    assert probes.count("m-getcl") == probes.count("m-init") == probes.count("m-free") == 5
    assert [line.split()[0] for line in lines if "m-freem" in line] == ["0.002000"] * 5


def test_after_an_exception_of_write_there_are_no_more_lines(make: Make) -> None:
    pool = make()
    lines: list[str] = []

    def write(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            raise SystemExit(1)

    with pytest.raises(SystemExit), trace(pool, CaptureClock(), write):
        pool.getcl()
    assert len(lines) == 2
    assert pool.out == 0
    assert not pool.probes.on
