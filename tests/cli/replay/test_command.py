"""`mbuf replay` as people run it: options, errors, output and exit codes."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mbuf.cli.main import main

CAPTURES = Path(__file__).parents[3] / "captures"
MULTI = str(CAPTURES / "multi.pcap")
SEGMENTS = str(CAPTURES / "ip_seg.pcap")
SMALL = ("--speed", "100x", "--hold", "0.5", "--descriptors", "256", "--set", "kern.ipc.nmbclusters=640")

Capturing = Callable[..., str]


def mbuf(*args: str, color: bool = False, memory: str | None = "4G", **env: str) -> Result:
    sized = ("--physmem", memory) if memory and args[:1] == ("replay",) else ()
    return CliRunner(env=env).invoke(main, [*args, *sized], color=color)


def replayed(*args: str) -> dict[str, object]:
    result = mbuf("replay", *args, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_a_replay_without_denials_is_reported_in_sections() -> None:
    result = mbuf("replay", MULTI, SEGMENTS)
    assert (result.exit_code, result.stderr) == (0, "")
    sections = [part.partition("\n") for part in result.stdout.split("\n\n")]
    titles = [head for head, _, _ in sections]
    assert titles[:3] == ["replay", "netstat -m", "vmstat -z"]
    assert titles[-2:] == ["peaks", "verdict"]
    assert "packets     4600 (" in result.stdout
    assert "1024 of 1024 descriptors with a cluster" in result.stdout
    assert "0 mbufs leaked" in result.stdout
    assert "No limit was reached. The nearest is kern.ipc.nmbclusters: at most " in result.stdout


@pytest.mark.parametrize("args", [(), SMALL, ("--mtu", "9000", "--queues", "8", "--ncpu", "4", "--loop", "2")])
def test_no_line_is_wider_than_a_terminal(args: tuple[str, ...]) -> None:
    result = mbuf("replay", MULTI, SEGMENTS, *args)
    wide = {line for line in result.stdout.splitlines() if len(line) > 80}
    # These are as the tools print them.
    assert {line for line in wide if not line.endswith(("(current/cache/total/max)", " XDOMAIN"))} == set()


def test_the_report_begins_with_the_machine_and_the_traffic() -> None:
    result = mbuf("replay", SEGMENTS, "--drain-rate", "50", "--loop", "3", "--queues", "2", "--ncpu", "2")
    assert result.stdout.startswith(
        "replay\n"
        "captures    ip_seg.pcap, 3 times; 87.030 s\n"
        "packets     1251 (580.3 KiB), 0 dropped\n"
        "rings       2, each of 1024 descriptors, clusters of 2048 bytes (MTU 1500)\n"
        "sockets     the application reads 50 packets per second\n"
        "machine     2 CPUs, 4.0 GiB of memory\n"
        "at the end  2048 of 2048 descriptors with a cluster, "
    )


def test_a_limit_that_was_reached_is_reported_with_the_command_that_raises_it() -> None:
    result = mbuf("replay", MULTI, *SMALL)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "\nconsole\n[24.106458] [zone: mbuf_cluster] kern.ipc.nmbclusters limit reached\n" in result.stdout
    assert "kern.ipc.nmbclusters was reached first, at packet 385, after 37.904 s" in result.stdout
    assert result.stdout.endswith("\n\n    sysctl kern.ipc.nmbclusters=3072\n")


def test_json_has_all_parts() -> None:
    found = replayed(MULTI, *SMALL)
    assert sorted(found) == [
        "bytes",
        "captures",
        "cluster",
        "console",
        "descriptors",
        "descriptors_empty",
        "dropped",
        "errors",
        "held",
        "interrupted",
        "loops",
        "needed",
        "netstat",
        "out_afterwards",
        "packets",
        "peaks",
        "physmem",
        "refills_denied",
        "seconds",
        "settings",
        "tunables",
        "verdict",
        "vmstat",
    ]
    assert (found["packets"], found["bytes"], found["physmem"]) == (4183, 676459, 4 << 30)
    assert found["tunables"] == {"kern.ipc.nmbclusters": "640"}
    assert found["settings"] == {
        "queues": 1,
        "descriptors": 256,
        "mtu": 1500,
        "ncpu": 1,
        "hold": 0.5,
        "drain_rate": None,
        "speed": 100.0,
    }


def test_json_has_peaks_and_a_verdict_in_parts() -> None:
    found = replayed(MULTI, *SMALL)
    verdict = found["verdict"]
    assert isinstance(verdict, dict)
    assert str(verdict.pop("text")).startswith("kern.ipc.nmbclusters was reached first")
    first_dropped = verdict.pop("first_dropped")
    assert first_dropped["packet"] == 641
    assert verdict == {
        "kind": "limit",
        "zone": "mbuf_cluster",
        "first_denied": {"packet": 385, "seconds": 37.904044},
        "raise": [{"sysctl": "kern.ipc.nmbclusters", "from": 640, "to": 3072}],
    }
    peaks = found["peaks"]
    assert isinstance(peaks, list)
    assert [peak["zone"] for peak in peaks] == [zone["name"] for zone in zones(found)]
    assert peaks[2] == {
        "zone": "mbuf_cluster",
        "sysctl": "kern.ipc.nmbclusters",
        "limit": 640,
        "in_use": 640,
        "in_use_percent": 100.0,
        "packet": 384,
        "seconds": 37.903983,
        "charged": 640,
        "charged_percent": 100.0,
    }


def zones(found: dict[str, object]) -> list[dict[str, object]]:
    vmstat = found["vmstat"]
    assert isinstance(vmstat, dict)
    listed: list[dict[str, object]] = vmstat["memory-zone-statistics"]["zone"]
    return listed


def test_the_options_of_the_replay_are_used() -> None:
    given = ("--queues", "3", "--descriptors", "16", "--mtu", "2027", "--ncpu", "2", "--drain-rate", "50")
    found = replayed(SEGMENTS, *given, "--speed", "2.5", "--loop", "2")
    assert found["settings"] == {
        "queues": 3,
        "descriptors": 16,
        "mtu": 2027,
        "ncpu": 2,
        "hold": 0.1,
        "drain_rate": 50.0,
        "speed": 2.5,
    }
    assert (found["packets"], found["loops"], found["cluster"]) == (834, 2, 4096)
    found = replayed(SEGMENTS, "--set", "kern.ipc.nmbjumbop=1k", "--set", "kern.ipc.nmbjumbop=2k")
    assert (found["tunables"], zones(found)[3]["limit"]) == ({"kern.ipc.nmbjumbop": "2k"}, 2048)


def test_the_default_memory_is_that_of_this_machine() -> None:
    result = mbuf("replay", SEGMENTS, "--descriptors", "1", memory=None)
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["no.pcap"], "File 'no.pcap' does not exist"),
        ([""], "File '' does not exist"),
        ([SEGMENTS, "no.pcap"], "File 'no.pcap' does not exist"),
        ([os.path.dirname(MULTI)], f"File '{os.path.dirname(MULTI)}' is a directory"),
        ([SEGMENTS, "--hold", "1", "--drain-rate", "5"], "--hold and --drain-rate: give only one of them"),
        ([SEGMENTS, "--hold", "-1"], "--hold -1: give a number, with or without a unit (S)"),
        ([SEGMENTS, "--hold", "nan"], "--hold nan: give a number, with or without a unit (S)"),
        ([SEGMENTS, "--drain-rate", "0"], "--drain-rate 0: give 0.001 to 1000000000"),
        ([], "Missing argument 'CAPTURE...': see mbuf replay --help"),
        ([SEGMENTS, "--nosuch"], "No such option '--nosuch': see mbuf replay --help"),
        ([SEGMENTS, "--physmem", "4G", "--speed"], "Option '--speed' requires an argument: see mbuf replay --help"),
        ([SEGMENTS, "--queues", "0"], "--queues 0: give a whole number from 1 to 1024"),
        ([SEGMENTS, "--queues", "1.5"], "--queues 1.5: give a whole number from 1 to 1024"),
        ([SEGMENTS, "--descriptors", "9" * 30], f"--descriptors {'9' * 30}: give a whole number from 1 to 1048576"),
        ([SEGMENTS, "--mtu", "67"], "--mtu 67: give a whole number from 68 to 65535"),
        ([SEGMENTS, "--loop", "0"], "--loop 0: give a whole number from 1 to 1000000000"),
        ([SEGMENTS, "--ncpu", "x"], "--ncpu x: give a whole number from 1 to 1024"),
        (["no\x1b[31m\n\udcff"], "File 'no\\x1b[31m\\n\ufffd' does not exist"),
        ([SEGMENTS, "--drain-rate", "5x"], "--drain-rate 5x: give a number"),
        ([SEGMENTS, "--speed", "0x"], "--speed 0x: give 0.001 to 1000000000"),
        ([SEGMENTS, "--physmem", "4Q"], "--physmem 4Q: give a number, with or without a unit (K, M, G, T)"),
        ([SEGMENTS, "--physmem", "9999999999T"], "--physmem 9999999999T: give 4K to 1048576T"),
        (
            [SEGMENTS, "--set", "kern.ipc.nmbclusters=many"],
            "--set kern.ipc.nmbclusters=many: give a number from 0 on, with or without a unit (k, m, g, t)",
        ),
        (
            [SEGMENTS, "--set", "kern.ipc.nmbclusters=-1"],
            "--set kern.ipc.nmbclusters=-1: give a number from 0 on, with or without a unit (k, m, g, t)",
        ),
        (
            [SEGMENTS, "--set", "nmbclusters=1"],
            "--set nmbclusters=1: unknown tunable 'nmbclusters': did you mean kern.ipc.nmbclusters?",
        ),
    ],
)
def test_a_wrong_argument_is_one_line_and_code_2(args: list[str], line: str) -> None:
    result = mbuf("replay", *args, memory=None if "--physmem" in args else "4G")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"mbuf: {line}\n")


def test_a_tunable_without_a_value_is_an_error() -> None:
    result = mbuf("replay", SEGMENTS, "--set", "kern.ipc.nmbclusters")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_a_file_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    result = mbuf("replay", SEGMENTS)
    assert (result.exit_code, result.stderr) == (2, f"mbuf: File '{SEGMENTS}' is not readable\n")


def test_an_impossible_machine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbuf.cli.machine.host_memory", lambda: 1 << 62)
    result = mbuf("replay", SEGMENTS, memory=None)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("mbuf: realmem 4611686018427387904: give")


def test_an_error_in_a_capture_is_printed_and_ends_with_1(capture: Capturing) -> None:
    bad = capture(0, 1, 2, name="bad.pcap", tail=b"\0" * 15)
    result = mbuf("replay", bad, SEGMENTS)
    assert result.exit_code == 1
    assert result.stderr == f"mbuf: {bad}: offset 252: record is truncated: 15 of 16 bytes\n"
    assert "packets     420 (" in result.stdout
    result = mbuf("replay", bad, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["errors"] == [f"{bad}: offset 252: record is truncated: 15 of 16 bytes"]


@pytest.mark.parametrize("options", [(), ("--json",), ("--loop", "2")])
def test_if_no_capture_can_be_read_there_are_only_the_errors_and_code_2(
    capture: Capturing, tmp_path: Path, options: tuple[str, ...]
) -> None:
    text, bad = tmp_path / "README.md", capture(name="bad.pcap", tail=b"\0" * 15)
    text.write_text("# No capture\n" * 9)
    result = mbuf("replay", str(text), bad, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.partition(": ")[2].partition(":")[0] for line in result.stderr.splitlines()] == [str(text), bad]


def test_an_empty_capture_can_be_read(capture: Capturing, tmp_path: Path) -> None:
    text, empty = tmp_path / "README.md", capture(name="empty.pcap")
    text.write_text("# No capture\n" * 9)
    for captures, code in (([empty], 0), ([str(text), empty], 1)):
        result = mbuf("replay", *captures)
        assert (result.exit_code, "packets     0 (0 bytes)" in result.stdout) == (code, True)


def test_ctrl_c_ends_with_the_report_until_then_and_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("mbuf.cli.replay.run.flow_number", interrupted)
    result = mbuf("replay", SEGMENTS)
    assert (result.exit_code, result.stderr) == (130, "")
    assert "interrupted 1024 of 1024 descriptors with a cluster, 0 packets in socket buffers;" in " ".join(
        result.stdout.split()
    )


def test_too_little_memory_for_the_rings_is_reported() -> None:
    result = mbuf("replay", SEGMENTS, "--physmem", "4M", memory=None)
    assert result.exit_code == 0
    assert "Only 256 of 1024 descriptors got a cluster" in result.stdout
    assert "    sysctl kern.ipc.nmbufs=4096\n    sysctl kern.ipc.nmbclusters=3072\n" in result.stdout


def test_colours_are_printed_on_a_terminal_that_has_them_unless_no_color_is_set() -> None:
    assert "\x1b[" in mbuf("replay", SEGMENTS, color=True, TERM="xterm").stdout
    assert "\x1b[" not in mbuf("replay", SEGMENTS, TERM="xterm").stdout
    assert "\x1b[" not in mbuf("replay", SEGMENTS, color=True, TERM="xterm", NO_COLOR="1").stdout
    assert "\x1b[" not in mbuf("replay", SEGMENTS, color=True, TERM="dumb").stdout


def test_a_trace_comes_before_the_report(capture: Capturing) -> None:
    path = capture(0, 1)
    traced, plain = mbuf("replay", path, "--trace", "--descriptors", "2"), mbuf("replay", path, "--descriptors", "2")
    lines = traced.stdout.splitlines()
    assert (traced.exit_code, lines[0].split()) == (0, ["SECONDS", "CPU", "PROBE", "ARGUMENTS"])
    assert traced.stdout.endswith(plain.stdout)
    assert lines[2].split()[2:5] == ["m-getcl", "how=M_NOWAIT", "type=MT_DATA"]


def test_a_trace_and_json_exclude_each_other(capture: Capturing) -> None:
    result = mbuf("replay", capture(0), "--trace", "--json")
    assert (result.exit_code, result.stderr) == (2, "mbuf: --trace and --json: give only one of them\n")
