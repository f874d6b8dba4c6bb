import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mbuf.cli.main import main
from mbuf.cli.where import locate, seed_map

ROOT = Path(__file__).parents[2]
ENTRIES = seed_map()


def where(*names: str) -> Result:
    return CliRunner().invoke(main, ["where", *names])


def test_the_installed_map_is_the_one_in_docs() -> None:
    entries = tomllib.loads((ROOT / "docs/seed-map.toml").read_text("utf-8"))["entry"]
    assert list(ENTRIES.values()) == entries


def test_a_name_is_found_with_file_line_and_a_sentence() -> None:
    result = where("m_getm2")
    assert (result.exit_code, result.stderr) == (0, "")
    at, says = result.stdout.splitlines()[:2]
    path, line, what = at.split(":")
    assert what == " m_getm2 is Pool.getm2"
    assert path.endswith("/mbuf/pool/pool.py")
    assert Path(path).read_text("utf-8").splitlines()[int(line) - 1].strip().startswith("def getm2(")
    assert says.startswith("    ")
    assert says.endswith(".")


def test_several_names_are_found_in_the_order_given() -> None:
    lines = where("zone_pack", "mb_dupcl").stdout.splitlines()
    assert [line.split(": ")[1].split(" ")[0] for line in lines if not line.startswith(" ")] == [
        "zone_pack",
        "mb_dupcl",
    ]


def test_a_difference_from_the_kernel_is_printed() -> None:
    entry = next(entry for entry in ENTRIES.values() if "differs" in entry)
    assert f"    Unlike the kernel: {entry['differs']}" in where(entry["kernel"]).stdout.splitlines()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("m_getm", None),
        ("m_getmm2", "unknown name 'm_getmm2': did you mean m_getm2?"),
        ("zzz", "unknown name 'zzz'"),
        ("", "unknown name ''"),
        ("m\udcff\x1b", None),
    ],
)
def test_an_unknown_name_is_an_error_before_anything_is_printed(name: str, line: str | None) -> None:
    if name in ENTRIES:
        assert where(name).exit_code == 0
        return
    result = where("m_getm2", name)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert line is None or result.stderr == f"mbuf: {line}\n"


def test_a_missing_name_is_an_error() -> None:
    assert where().stderr == "mbuf: Missing argument 'NAME...': see mbuf where --help\n"


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES.values() if entry["state"] == "built"], ids=lambda e: e["kernel"]
)
def test_every_name_that_is_built_is_on_the_line_that_is_printed(entry: dict[str, str]) -> None:
    at = locate(entry["target"])
    line = at.path.read_text("utf-8").splitlines()[at.line - 1]
    last = entry["target"].rpartition(":")[2].rpartition(".")[2]
    assert ":" not in entry["target"] or last in line, f"{at.path}:{at.line} {line}"


def test_a_name_that_is_not_built_yet_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"kernel": "m_later", "state": "later", "planned": "mbuf.x:y", "says": "Does it."}
    monkeypatch.setattr("mbuf.cli.where.seed_map", lambda: {"m_later": entry})
    assert where("m_later").stdout == "m_later is not in this library yet\n    Does it.\n"
