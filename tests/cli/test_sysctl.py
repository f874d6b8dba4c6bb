"""`mbuf sysctl` prints what sysctl(8) prints, for a modelled machine."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mbuf.cli.machine import warnings_on_stderr
from mbuf.cli.main import main

CLUSTERS = "kern.ipc.nmbclusters"
CAPTURE = str(Path(__file__).parents[2] / "captures" / "ip_seg.pcap")


def sysctl(*args: str, memory: str | None = "1G", **env: str) -> Result:
    sized = ("--physmem", memory) if memory else ()
    return CliRunner(env=env).invoke(main, ["sysctl", *args, *sized])


def printed(*args: str, **env: str) -> str:
    result = sysctl(*args, **env)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture
def conf(tmp_path: Path) -> Callable[[str], str]:
    """A function that writes a loader.conf and returns its path."""

    def conf(text: str) -> str:
        path = tmp_path / "loader.conf"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return conf


def test_a_name_is_printed_with_its_value() -> None:
    assert printed(CLUSTERS) == "kern.ipc.nmbclusters: 65536\n"
    assert printed("-n", CLUSTERS, "vm.uma.mbuf.keg.name") == "65536\nmbuf\n"
    assert printed("vm.uma.mbuf.flags") == "vm.uma.mbuf.flags: 0x3010000<LIMIT,CTORDTOR,FIRSTTOUCH>\n"


def test_a_branch_is_printed_name_by_name() -> None:
    assert printed("vm.uma.mbuf_jumbo_9k.keg.domain") == (
        "vm.uma.mbuf_jumbo_9k.keg.domain.0.pages: 0\nvm.uma.mbuf_jumbo_9k.keg.domain.0.free_items: 0\n"
    )
    assert len(printed("kern.ipc").splitlines()) == 12


def test_descriptions_types_or_names_are_printed_instead_of_values() -> None:
    assert printed("-d", CLUSTERS) == "kern.ipc.nmbclusters: Maximum number of mbuf clusters allowed\n"
    assert printed("-t", CLUSTERS, "vm.uma.mbuf.flags") == "kern.ipc.nmbclusters: integer\nvm.uma.mbuf.flags: string\n"
    assert printed("-N", "vm.zone_warnings") == "vm.zone_warnings\n"
    assert printed("-dn", "vm.zone_count") == "Number of UMA zones\n"


def test_all_names_are_printed() -> None:
    lines = printed("-a").splitlines()
    assert lines[:12] == printed("kern").splitlines()
    assert lines[12:-2] == printed("vm").splitlines()
    assert lines[-2] == "debug.vm_lowmem: 0"
    assert lines[-1].startswith("hw.physmem: ")
    described = printed("-a", "-d").splitlines()
    assert [line.split(":")[0] for line in described] == printed("-aN").splitlines()
    assert not [line for line in described if line.endswith(": ")]


def test_opaque_values_are_printed_only_with_an_option_for_them() -> None:
    name = "vm.zone_stats"
    assert printed(name) == ""
    assert name not in printed("-a")
    assert name in printed("-aN")
    assert printed("-t", name) == "vm.zone_stats: opaque\n"
    start = "vm.zone_stats: Format:S,struct uma_type_header Length:1120 Dump:0x01000000010000000600000000000000"
    assert printed("-o", name) == f"{start}...\n"
    whole = printed("-x", name)
    assert whole.startswith(start + b"mbuf_jumbo_16k".hex())
    assert len(bytes.fromhex(whole.partition("0x")[2])) == 1120
    assert len(printed("-ao").splitlines()) == len(printed("-a").splitlines()) + 1


def test_values_are_printed_as_the_bytes_of_the_kernel() -> None:
    names = ("kern.ipc.maxmbufmem", CLUSTERS, "vm.uma.mbuf.keg.name", "vm.uma.mbuf.bucket_size", "vm.zone_warnings")
    result = sysctl("-b", *names)
    parts = (1 << 29).to_bytes(8, "little"), (65536).to_bytes(4, "little"), b"mbuf\0", b"\xfe\0", b"\1\0\0\0"
    assert (result.exit_code, result.stdout_bytes) == (0, b"".join(parts))
    assert sysctl("-b", "vm.zone_stats").stdout_bytes[:4] == b"\1\0\0\0"
    assert len(sysctl("-ab").stdout_bytes) > 1120
    refused = sysctl("-b", f"{CLUSTERS}=1")
    assert (refused.exit_code, refused.stderr) == (2, "mbuf: sysctl -b: give names without values\n")


def test_the_example_of_a_machine_with_1_gib() -> None:
    result = sysctl(
        f"{CLUSTERS}=65536",
        f"{CLUSTERS}=65535",
        f"{CLUSTERS}=1000000",
        f"{CLUSTERS}=1000001",
        "kern.ipc.nmbjumbop=40000",
        "kern.ipc.nmbufs=2000000",
        "kern.ipc.nmbjumbop=40000",
        CLUSTERS,
    )
    assert result.exit_code == 2
    assert result.stdout == (
        "kern.ipc.nmbclusters: 65536 -> 65536\n"
        "kern.ipc.nmbclusters: 65536 -> 1000000\n"
        "kern.ipc.nmbufs: 419430 -> 2000000\n"
        "kern.ipc.nmbjumbop: 32768 -> 40000\n"
        "kern.ipc.nmbclusters: 1000000\n"
    )
    refused = [line.partition(" (")[0] for line in result.stderr.splitlines()]
    assert refused == [
        "sysctl: kern.ipc.nmbclusters=65535: Invalid argument",
        "sysctl: kern.ipc.nmbclusters=1000001: Invalid argument",
        "sysctl: kern.ipc.nmbjumbop=40000: Invalid argument",
    ]
    assert "nmbufs is 419430, less than 1000000 + 32768 + 9709 + 5461 clusters" in result.stderr


def test_values_are_decimal_hexadecimal_or_octal() -> None:
    assert printed(f"{CLUSTERS}=0x20000") == "kern.ipc.nmbclusters: 65536 -> 131072\n"
    values = ("vm.zone_warnings=010", "vm.zone_warnings=-1", "vm.zone_warnings=+3")
    assert printed("-n", *values) == "1 -> 8\n8 -> -1\n-1 -> 3\n"


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        (f"{CLUSTERS}=1", "kern.ipc.nmbclusters is 65536 and can only go up, to less than 2147483648: 1 can't be"),
        (f"{CLUSTERS}=64k", "give a whole number"),
        (f"{CLUSTERS}=", "give a whole number"),
        (f"{CLUSTERS}={'9' * 5000}", "give a whole number"),
        ("kern.ipc.max_hdr=1", "kern.ipc.max_hdr is read only: it can be set when the pool is made"),
        ("vm.uma.mbuf.size=1", "vm.uma.mbuf.size is read only"),
    ],
)
def test_a_value_that_the_kernel_refuses_is_one_line_with_its_error_and_code_2(argument: str, why: str) -> None:
    result = sysctl(argument)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"sysctl: {argument}: Invalid argument ({why})\n"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ([], "sysctl: give a name, or -a for all"),
        (["-a", CLUSTERS], "sysctl: give -a or names, not both"),
        (["kern.ipc.nmbcluster"], "unknown name 'kern.ipc.nmbcluster': did you mean kern.ipc.nmbclusters?"),
        ([f"{CLUSTERS}=70000", "colour=5"], "unknown name 'colour'"),
        (["kern.ipc=5"], "kern.ipc=5: kern.ipc is a branch, and has no value"),
        (["-a", "--loader-conf", "/no/such"], "/no/such: No such file or directory"),
        (["-a", "--loader-conf", "/"], "/: Is a directory"),
        (["-a", "--set", "kern.ipc.nmbufs"], "--set kern.ipc.nmbufs: give NAME=VALUE"),
        (
            ["-a", "--set", "kern.ipc.nmbufs=9", "--set", "kern.ipc.nmbclusters=10"],
            "kern.ipc.nmbufs=9 is less than 10, the clusters of kern.ipc.nmbclusters; raise it, or leave it out "
            "(the kernel would take 419430)",
        ),
        (["-a", "--physmem", "99999999999T"], "--physmem 99999999999T: give 4K to 1048576T"),
    ],
)
def test_a_wrong_argument_is_one_line_and_code_2(args: list[str], line: str) -> None:
    result = sysctl(*args, memory=None if "--physmem" in args else "1G")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"mbuf: {line}\n")


def test_an_impossible_machine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbuf.cli.machine.host_memory", lambda: 1 << 62)
    result = sysctl("-a", memory=None)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("mbuf: realmem 4611686018427387904: give")


def test_tunables_come_from_a_file_the_environment_and_options(conf: Callable[[str], str]) -> None:
    path = conf('kern.ipc.nmbclusters="70000"\nkern.ipc.nmbjumbop="40000"\nkern.ipc.nmbjumbo9="10000"\n')
    env = {"MBUF_NMBJUMBOP": "50000", "MBUF_NMBJUMBO9": "11000"}
    names = [CLUSTERS, "kern.ipc.nmbjumbop", "kern.ipc.nmbjumbo9"]
    found = printed("-n", *names, "--loader-conf", path, "--set", "kern.ipc.nmbjumbo9=12000", **env)
    assert found == "70000\n50000\n12000\n"


def test_a_misspelt_variable_is_an_error() -> None:
    result = sysctl("-a", MBUF_NMBCLUSTER="5")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "mbuf: unknown variable 'MBUF_NMBCLUSTER': did you mean MBUF_NMBCLUSTERS?\n"


def test_a_misspelt_name_in_a_file_is_an_error(conf: Callable[[str], str]) -> None:
    path = conf('\nkern.ipc.nmbcluster="5"\n')
    result = sysctl("-a", "--loader-conf", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr == f"mbuf: {path}:2: unknown tunable 'kern.ipc.nmbcluster': did you mean kern.ipc.nmbclusters?\n"
    )


def test_a_value_that_the_kernel_ignores_or_replaces_is_a_warning(conf: Callable[[str], str]) -> None:
    path = conf('kern.ipc.nmbclusters="64kb"\nkern.ipc.nmbufs="100"\n')
    result = sysctl("kern.ipc.nmbufs", "--loader-conf", path)
    assert (result.exit_code, result.stdout) == (0, "kern.ipc.nmbufs: 419430\n")
    assert result.stderr == (
        f'mbuf: {path}:1: kern.ipc.nmbclusters="64kb": the kernel ignores this: give digits, and after them at most '
        "one of k, m, g, t\n"
        f"mbuf: {path}:2: kern.ipc.nmbufs=100 is less than 65536 + 32768 + 9709 + 5461 = 113474 clusters: "
        "the kernel takes 419430 instead\n"
    )


def test_replay_reads_the_same_tunables(conf: Callable[[str], str]) -> None:
    path = conf('kern.ipc.nmbclusters="2k"\nkern.ipc.nmbufs="1"\n')
    args = ["replay", CAPTURE, "--physmem", "1G", "--loader-conf", path]
    result = CliRunner().invoke(main, args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"mbuf: {path}:2: kern.ipc.nmbufs=1 is less than 2048, the clusters of")
    result = CliRunner(env={"MBUF_NMBUFS": "200000"}).invoke(main, args)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "tunables    kern.ipc.nmbclusters=2048 kern.ipc.nmbufs=200000\n" in result.stdout


def test_other_warnings_are_shown_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: seen.append(str(message)))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with warnings_on_stderr():
            warnings.warn("other", stacklevel=1)
    assert seen == ["other"]
