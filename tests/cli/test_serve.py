import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from mbuf.cli.main import main
from mbuf.cli.serve import ServeOptions, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_bytes(b"hello\n" * 5000)
    return tmp_path / "www"


def get(line: str, target: str = "/a.txt") -> bytes:
    """Send a request to the server whose address is in this line of output."""
    host, _, port = line.partition("http://")[2].partition("/")[0].rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), 20) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b""))


@contextmanager
def served(*args: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command, and kill it at the end."""
    line = [sys.executable, "-m", "mbuf", "serve", *args, "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_prints_totals(folder: Path, number: int) -> None:
    with served(str(folder), "--memory", "32M") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith(f"serving {folder} at http://127.0.0.1:")
        assert first.endswith("/ with 32.0 MiB for mbufs; Ctrl-C ends it\n")
        assert get(first).endswith(b"\r\n\r\n" + b"hello\n" * 5000)
        assert process.stdout.readline().startswith("127.0.0.1 GET /a.txt 200 29.5 KiB in 0.")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert out.startswith("1 request by 1 client, 0 failed; 29.5 KiB sent, with ")
        assert out.endswith(" 0 waits for mbufs; 0 mbufs leaked\n")
        assert (process.returncode, err) == (0, "")


def test_it_goes_on_if_its_output_is_a_closed_pipe(folder: Path) -> None:
    with served(str(folder)) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.stdout.close()
        assert [get(first)[:12] for _ in range(3)] == [b"HTTP/1.1 200"] * 3
        process.terminate()
        assert process.wait(20) == 0


def ask_and_stop(options: ServeOptions) -> list[str]:
    """Serve in this process. A client process sends a request, then a signal; the lines that were written."""
    lines: list[str] = []
    client = "import os, sys, cli.test_serve as t; t.get(sys.argv[1]); os.kill(os.getppid(), t.signal.SIGTERM)"

    def write(line: str) -> None:
        if not lines:
            env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            clients.append(subprocess.Popen([sys.executable, "-c", client, line], env=env))
        lines.append(line)

    clients: list[subprocess.Popen[bytes]] = []
    run(options, write)
    assert clients[0].wait(20) == 0
    return lines


def test_quiet_prints_no_line_for_a_request(folder: Path) -> None:
    lines = ask_and_stop(ServeOptions(str(folder), "127.0.0.1", 0, 1 << 20, 5, 8, quiet=False))
    assert [line.split()[0] for line in lines] == ["serving", "127.0.0.1", "1"]
    lines = ask_and_stop(ServeOptions(str(folder), "127.0.0.1", 0, 1 << 20, 5, 8, quiet=True))
    assert [line.split()[0] for line in lines] == ["serving", "1"]


def test_a_file_that_cannot_be_sent_is_printed_with_its_status(folder: Path) -> None:
    (folder / "a.txt").unlink()
    os.mkfifo(folder / "a.txt")
    lines = ask_and_stop(ServeOptions(str(folder), "127.0.0.1", 0, 1 << 20, 5, 8, quiet=False))
    assert " GET /a.txt 403 " in lines[1]


@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
def test_it_serves_if_its_output_cannot_be_written(folder: Path, output: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    line = f"exec {sys.executable} -m mbuf serve {folder} --port {port} {output}"
    with subprocess.Popen(["/bin/sh", "-c", line], stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                assert get(f"http://127.0.0.1:{port}/").endswith(b"hello\n")
                break
            except ConnectionRefusedError:
                continue
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")


def test_it_serves_over_ipv6(folder: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6")
    lines = ask_and_stop(ServeOptions(str(folder), "::1", 0, 1 << 20, 5, 8, quiet=False))
    assert "http://[::1]:" in lines[0]
    assert lines[1].startswith("::1 GET /a.txt 200 ")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ([""], "Directory '' does not exist"),
        (["nix"], "Directory 'nix' does not exist"),
        (["www/a.txt"], "Directory 'www/a.txt' is a file"),
        (["www", "--port", "80.5"], "--port 80.5: give a whole number from 0 to 65535"),
        (["www", "--port", "65536"], "--port 65536: give a whole number from 0 to 65535"),
        (["www", "--port", "http"], "--port http: give a whole number from 0 to 65535"),
        (["www", "--memory", "1"], "--memory 1: give 128K to 1048576T"),
        (["www", "--timeout", "0"], "--timeout 0: give 0.1 to 86400"),
        (["www", "--clients", "0"], "--clients 0: give a whole number from 1 to 1048576"),
        (["www", "--address", ""], "--address: give one, for example 127.0.0.1, or 0.0.0.0 for all interfaces"),
        (["www", "--address", "a\udcff"], "a\\xff:8000: this can't be the name of a host"),
        (["www", "--address", "192.0.2.1"], "192.0.2.1:8000: Cannot assign requested address"),
    ],
)
def test_a_wrong_argument_is_one_line_and_code_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], line: str
) -> None:
    monkeypatch.chdir(folder.parent)
    result = CliRunner().invoke(main, ["serve", *args])
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"mbuf: {line}\n")


def test_a_host_name_that_is_too_long_is_an_error(folder: Path) -> None:
    result = CliRunner().invoke(main, ["serve", str(folder), "--address", "x" * 70])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_a_folder_that_cannot_be_opened_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mbuf.http.server.DocRoot", fails)
    result = CliRunner().invoke(main, ["serve", str(folder), "--port", "0"])
    assert (result.exit_code, result.stderr) == (2, f"mbuf: {folder}: Permission denied\n")


def test_options_have_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(options: ServeOptions, write: Callable[[str], object]) -> None:
        assert options == ServeOptions(str(folder), "127.0.0.1", 8000, 16 << 20, 15.0, 256, quiet=False)
        write("one")

    monkeypatch.setattr("mbuf.cli.serve.run", run)
    assert CliRunner().invoke(main, ["serve", str(folder)]).stdout == "one\n"
