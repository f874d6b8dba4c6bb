"""Tunables in files and environment variables are read as the kernel reads them; ignored ones cause a warning."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbuf import Inval, Pool, TunableWarning, tunables
from mbuf.pool.tunables import from_environ, from_mapping, read_loader_conf, read_toml

NMB = "kern.ipc.nmbclusters"
BUFS = "kern.ipc.nmbufs"
GIB = 1 << 30

LOADER_CONF = """\
# This machine forwards.
autoboot_delay="3"
\tkern.ipc.nmbclusters = "1m"   # for the cards
kern.ipc.nmbufs="0x200000"
kern.ipc.nmbjumbop=64k
kern.ipc.maxsockbuf="16777216"
kern.ipc.nsfbufs="9000"
kern.ipc.mb_use_ext_pgs="1"
vm.zone_warnings=0
if_lagg_load="YES" # not ours

exec="echo \\"kern.ipc.nmbufs\\""
kern.ipc.nmbclusters="128k"
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a file; its path."""

    def write(text: str | bytes, name: str = "loader.conf") -> str:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def test_loader_conf_is_read_as_the_loader_reads_it(write: Callable[..., str], make: Callable[..., Pool]) -> None:
    path = write(LOADER_CONF)
    found = read_loader_conf(path)
    assert found == {
        BUFS: 1 << 21,
        "kern.ipc.nmbjumbop": 65536,
        "kern.ipc.mb_use_ext_pgs": 1,
        "vm.zone_warnings": 0,
        NMB: 131072,
    }
    assert found == read_loader_conf(Path(path))
    pool = make(found, mem=GIB)
    assert {name: pool.sysctl[name] for name in found} == found
    assert (pool.mb_use_ext_pgs, pool.warnings.on) == (True, 0)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", 'a="b"', "\ufeff#\n", 'x="1"\r\n'])
def test_a_file_with_other_settings_sets_nothing(write: Callable[..., str], text: str) -> None:
    assert read_loader_conf(write(text)) == {}


@pytest.mark.parametrize(
    ("value", "number", "said"),
    [
        ("64kb", None, "the kernel ignores this: give digits, and after them at most one of k, m, g, t"),
        ("1.5k", None, "the kernel ignores this: give digits, and after them at most one of k, m, g, t"),
        ("", None, "the kernel ignores this: give digits, and after them at most one of k, m, g, t"),
        ("4g", 0, "too large for the kernel, which reads it as 0: that means automatic"),
        ("2g", -(1 << 31), "too large for the kernel, which reads it as -2147483648: that means no limit"),
        ("-1", -1, "the kernel reads it as -1: that means no limit"),
        ("010", 8, "with a 0 in front this is octal, so 8"),
    ],
)
def test_an_odd_value_is_reported_with_its_line(
    write: Callable[..., str], value: str, number: int | None, said: str
) -> None:
    path = write(f'#\n{NMB}="{value}"\n')
    with pytest.warns(TunableWarning) as caught:
        found = read_loader_conf(path)
    assert [str(each.message) for each in caught] == [f'{path}:2: {NMB}="{value}": {said}']
    assert found == ({} if number is None else {NMB: number})


def test_what_is_ignored_takes_back_what_was_said_before(write: Callable[..., str]) -> None:
    with pytest.warns(TunableWarning):
        assert read_loader_conf(write(f"{NMB}=5\n{NMB}=5kb\n")) == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kern.ipc.nmbcluster=5", "unknown tunable 'kern.ipc.nmbcluster': did you mean kern.ipc.nmbclusters?"),
        ("kern.ipc.NMBUFS=5", "unknown tunable 'kern.ipc.NMBUFS': did you mean kern.ipc.nmbufs?"),
        ("kern.ipc.maxmbufmen=5", "unknown tunable 'kern.ipc.maxmbufmen': did you mean kern.ipc.maxmbufmem?"),
        ("vm.zone_warning=5", "unknown tunable 'vm.zone_warning': did you mean vm.zone_warnings?"),
        ("kern.ipc.nmbufs 5", "give NAME=\"VALUE\", not 'kern.ipc.nmbufs 5'"),
        ('kern.ipc.nmbufs="5', 'give NAME="VALUE", not \'kern.ipc.nmbufs="5\''),
        ("kern.ipc.nmbufs=5 6", "give NAME=\"VALUE\", not 'kern.ipc.nmbufs=5 6'"),
        ("kern.ipc.nmbufs=", "give NAME=\"VALUE\", not 'kern.ipc.nmbufs='"),
        ('="5"', 'give NAME="VALUE", not \'="5"\''),
        ("x" * 100, f'give NAME="VALUE", not {"x" * 60!r}'),
        ("\0", "give NAME=\"VALUE\", not '\\x00'"),
    ],
)
def test_a_line_that_is_wrong_is_refused_with_its_number(write: Callable[..., str], line: str, said: str) -> None:
    path = write(f"\n# fine\n{line}\n")
    with pytest.raises(Inval) as caught:
        read_loader_conf(path)
    assert str(caught.value) == f"{path}:3: {said}"


def test_bytes_that_are_no_text_are_refused(write: Callable[..., str]) -> None:
    with pytest.raises(Inval, match=":1: give NAME="):
        read_loader_conf(write(b"\xff\xfe\x00\x80 \n"))


def test_what_has_no_end_is_not_a_loader_conf() -> None:
    with pytest.raises(Inval, match="^/dev/zero: more than 1048576 characters: this is no loader.conf"):
        tunables.read_loader_conf("/dev/zero")


def test_a_number_of_any_length_is_a_number(write: Callable[..., str]) -> None:
    with pytest.warns(TunableWarning, match="too large for the kernel, which reads it as -1"):
        assert read_loader_conf(write(f"{NMB}={'9' * 5000}")) == {NMB: -1}


def test_a_copied_number_keeps_its_source(write: Callable[..., str]) -> None:
    path = write(f"{NMB}=5")
    found = copy.deepcopy(read_loader_conf(path))
    assert (found, found[NMB].where) == ({NMB: 5}, f"{path}:1")


@pytest.mark.parametrize("read", [read_loader_conf, read_toml])
def test_a_file_that_is_not_there_is_an_os_error(read: Callable[[Any], Any], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[kern.ipc]\nnmbclusters = '64k'\nnmbufs = 200_000\n[vm]\nzone_warnings = false",
        "kern.ipc.nmbclusters = 65536\n'kern.ipc'.nmbufs = 200000\n'vm.zone_warnings' = 0",
    ],
)
def test_a_toml_file_has_tables_or_dotted_names(write: Callable[..., str], text: str) -> None:
    found = {NMB: 65536, BUFS: 200000, "vm.zone_warnings": 0}
    assert read_toml(write(text, "a.toml")) == found
    inner = text.replace("[", "[tool.server.")
    inner = inner if "[" in text else f"[tool.server]\n{text}"
    path = write(f"[tool]\nother = 1.5\n{inner}", "b.toml")
    assert read_toml(path, "tool.server") == found
    with pytest.raises(Inval, match=r"b.toml: there is no table \[tool.client\]"):
        read_toml(path, "tool.client")
    with pytest.raises(Inval, match=r"b.toml: there is no table \[tool.other.deep\]"):
        read_toml(path, "tool.other.deep")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kern.ipc]\nnmbcluster = 1", "unknown tunable 'kern.ipc.nmbcluster': did you mean kern.ipc.nmbclusters?"),
        ("[kern.ipc]\nnmbufs = 1.5", "kern.ipc.nmbufs: give a whole number or a text, not 1.5"),
        ("[kern.ipc]\nnmbufs = true", "kern.ipc.nmbufs: give a whole number or a text, not True"),
        ("[kern.ipc]\nnmbufs = [1]", r"kern.ipc.nmbufs: give a whole number or a text, not \[1\]"),
        ("kern.ipc", ".*at end of document"),
        ("x = '\udc80'", ".*codec can't decode"),
    ],
)
def test_a_toml_file_that_is_wrong_is_refused(write: Callable[..., str], text: str, said: str) -> None:
    path = write(text.encode("utf-8", "surrogateescape"), "a.toml")
    with pytest.raises(Inval, match=f"{path}: {said}"):
        read_toml(path)


def test_a_toml_file_shows_odd_values_too(write: Callable[..., str]) -> None:
    path = write("kern.ipc.nmbclusters = 4294967296", "a.toml")
    with pytest.warns(TunableWarning, match=f'{path}: kern.ipc.nmbclusters="4294967296": too large'):
        assert read_toml(path) == {NMB: 0}


def test_a_mapping_is_read_like_a_file() -> None:
    assert from_mapping({}) == {}
    assert from_mapping({"kern": {"ipc": {"nmbclusters": "64k"}}, BUFS: 7}) == {NMB: 65536, BUFS: 7}
    with pytest.raises(Inval, match="^unknown tunable 'nmbclusters': did you mean kern.ipc.nmbclusters"):
        from_mapping({"nmbclusters": 1})
    with pytest.raises(Inval, match="^kern.ipc.nmbufs: give a whole number or a text, not None"):
        from_mapping({BUFS: None})
    with pytest.warns(TunableWarning, match="^kern.ipc.nmbufs=.64kb.: the kernel ignores this"):
        assert from_mapping({BUFS: "64kb"}) == {}


def test_the_environment_has_short_names_in_capitals() -> None:
    environ = {"MBUF_NMBCLUSTERS": "64k", "MBUF_MB_USE_EXT_PGS": "1", "MBUF_PURE": "1", "PATH": "/bin", "NMBUFS": "1"}
    assert from_environ(environ) == {NMB: 65536, "kern.ipc.mb_use_ext_pgs": 1}
    with pytest.raises(Inval, match="^unknown variable 'MBUF_NMBCLUSTER': did you mean MBUF_NMBCLUSTERS"):
        from_environ({"MBUF_NMBCLUSTER": "1"})
    with pytest.raises(Inval, match="^unknown variable 'MBUF_COLOUR': there are MBUF_MAXMBUFMEM, "):
        from_environ({"MBUF_COLOUR": "1"})
    with pytest.warns(TunableWarning, match='^MBUF_NMBUFS: kern.ipc.nmbufs="": the kernel ignores this'):
        assert from_environ({"MBUF_NMBUFS": ""}) == {}


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBUF_NMBJUMBO9", "12")
    assert from_environ() == {"kern.ipc.nmbjumbo9": 12}


def test_what_is_wrong_with_a_pool_names_the_line(write: Callable[..., str], make: Callable[..., Pool]) -> None:
    path = write(f"{NMB}=10\n\n{BUFS}=9\n")
    with pytest.raises(Inval, match=f"^{path}:3: kern.ipc.nmbufs=9 is less than 10, the clusters of"):
        make(read_loader_conf(path))
    with pytest.warns(TunableWarning, match=f"^{path}:1: kern.ipc.nmbufs=9 is less than .* clusters: the kernel takes"):
        make(read_loader_conf(write(f"{BUFS}=9")))
