"""However the command ends, there is an exit code, at most one line, and never a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mbuf.cli import entry as command

CAPTURE = str(Path(__file__).parents[2] / "captures" / "ip_seg.pcap")
RUN = [sys.executable, "-c", "from mbuf.cli.entry import run; run()"]


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell, in which `$MBUF` is the command."""
    env = {**os.environ, "MBUF_COMMAND": "", "CAPTURE": CAPTURE}
    del env["MBUF_COMMAND"]
    text = line.replace("$MBUF", f"{sys.executable} -c '{RUN[2]}'")
    return subprocess.run(["/bin/bash", "-c", text], capture_output=True, text=True, timeout=60, env=env)


@pytest.mark.parametrize(
    "args",
    [
        "sysctl -a",
        "sysctl kern.ipc.nmbufs",
        "sysctl -b vm.zone_stats",
        "replay $CAPTURE",
        "--help",
        "--version",
        "where m_get",
    ],
)
def test_a_full_output_device_is_one_line_and_code_2(args: str) -> None:
    done = shell(f"$MBUF {args} >/dev/full")
    assert (done.returncode, done.stderr) == (2, "mbuf: standard output: No space left on device\n")


def test_an_error_that_cannot_be_printed_is_code_2_too() -> None:
    for where in ("/dev/full", "&-"):
        done = shell(f"$MBUF sysctl nosuch 2>{where}")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_closed_pipe_ends_the_command_silently() -> None:
    done = shell("$MBUF sysctl -a | head -1")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_a_closed_output_is_no_error() -> None:
    for args in ("sysctl -a", "replay $CAPTURE", "where m_get"):
        done = shell(f"$MBUF {args} >&-")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_closed_standard_error_is_no_error() -> None:
    done, plain = (shell(f"$MBUF replay $CAPTURE {closed}") for closed in ("2>&-", ""))
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, "")


def test_an_error_is_not_printed_on_standard_output_if_standard_error_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mbuf.cli.main", None)
    monkeypatch.setattr(command, "_EXTRAS", {"mbuf": "cli"})
    monkeypatch.setattr(command, "_exit", lambda code: None)
    monkeypatch.setattr(sys, "stderr", None)
    command.run()
    assert capsys.readouterr() == ("", "")


def test_file_names_that_are_not_utf_8_are_printed_with_escapes(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\x1b.pcap")
    os.symlink(CAPTURE, name)
    env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([*RUN, "replay", name], capture_output=True, text=True, timeout=60, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "captures    a\\xff\\x1b.pcap; 29.010 s\n" in done.stdout


SHELL_RUN = "from mbuf_command import run; run()"


@pytest.mark.parametrize(
    ("run", "module"),
    [
        *((SHELL_RUN, name) for name in ("mbuf.const", "mbuf.packet.mbuf", "mbuf.pool.pool", "mbuf.cli.entry")),
        *((RUN[2], name) for name in ("mbuf.cli.main", "importlib.resources")),
    ],
)
def test_an_interrupt_during_imports_is_code_130(run: str, module: str) -> None:
    program = f"""
import builtins, os, signal
# A process that is started in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
load = builtins.__import__
def slow(name, *rest, **more):
    if name == "{module}":
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *rest, **more)
builtins.__import__ = slow
{run}
"""
    done = subprocess.run([sys.executable, "-c", program, "where", "m_get"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_script_of_the_shell_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-c", SHELL_RUN, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout[:4]) == (0, "mbuf")


def test_the_package_can_be_run_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mbuf", "replay", __file__], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"mbuf: {__file__}: ")


def test_sigterm_ends_a_replay() -> None:
    with subprocess.Popen(
        [*RUN, "replay", CAPTURE, "--loop", "1000000000"], stderr=subprocess.PIPE, text=True
    ) as process:
        process.send_signal(signal.SIGTERM)
        assert (process.wait(20), process.communicate()[1]) == (-signal.SIGTERM, "")


def test_an_error_of_a_file_has_its_name(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def fails(**_: object) -> None:
        raise OSError(5, "Input/output error", "some\nfile")

    monkeypatch.setattr("mbuf.cli.main.main", fails)
    ended: list[int] = []
    monkeypatch.setattr(command, "_exit", ended.append)
    command.run()
    assert (ended, capfd.readouterr().err) == ([2], "mbuf: some\\nfile: Input/output error\n")


@pytest.mark.parametrize(
    ("missing", "args", "line"),
    [
        ("click", "--help", 'mbuf: the package click is not installed: pip install "mbuf[cli]"\n'),
        ("h11", "serve . --port 0", 'mbuf: the package h11 is not installed: pip install "mbuf[http]"\n'),
    ],
)
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(missing: str, args: str, line: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from mbuf.cli.entry import run; run()"
    done = subprocess.run([sys.executable, "-c", program, *args.split()], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
