"""`mbuf` itself: its commands, its errors, and how it is started."""

import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

import mbuf
from mbuf.cli.main import main


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_an_unknown_command_is_one_line_and_code_2() -> None:
    result = invoke("replya")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("mbuf: No such command 'replya'")
    assert result.stderr.endswith(": see mbuf --help\n")
    assert (invoke("--nosuch").exit_code, invoke("--nosuch").stderr) == (
        2,
        "mbuf: No such option '--nosuch': see mbuf --help\n",
    )


def test_without_a_command_there_is_help() -> None:
    result = invoke()
    assert (result.exit_code, "[OPTIONS] COMMAND [ARGS]..." in result.output) == (2, True)


def test_ctrl_c_ends_a_command_with_130_and_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for place, args in (("where.seed_map", ("where", "m_get")), ("sysctl.all_lines", ("sysctl", "-a"))):
        monkeypatch.setattr(f"mbuf.cli.{place}", interrupted)
        result = invoke(*args)
        assert (result.exit_code, result.output) == (130, "")


def test_the_package_can_be_run_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "mbuf", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mbuf, version {mbuf.__version__}\n", "")


def test_help_has_all_commands_and_imports_none() -> None:
    program = """
import sys
from mbuf.cli.main import main
main(["--help"], standalone_mode=False)
print([name for name in sys.modules if name.startswith(("rich", "h11", "mbuf.http", "mbuf.net", "mbuf.cli.replay"))])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[lines.index("Commands:") + 1 : -1]] == sorted(main.commands)
    assert lines[-1] == "[]"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_each_command_has_help(name: str) -> None:
    result = invoke(name, "--help")
    assert (result.exit_code, result.output.split()[:3]) == (0, ["Usage:", "main", name])
