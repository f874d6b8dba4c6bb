from pathlib import Path

import pytest

from mbuf.vm.cgroup import folders

V1 = "5:cpu,cpuacct:/x\n4:memory:/docker/1\n1:name=systemd:/y\n"


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        ("", []),
        ("0::/\n", ["."]),
        ("0::/a/b\n", ["a/b", "a", "."]),
        (V1, ["memory/docker/1", "memory/docker", "memory"]),
        ("3:hugetlb,memory:/a\n0::/\n", ["memory/a", "memory", "."]),
    ],
    ids=["none", "root", "version 2", "version 1", "both"],
)
def test_a_process_is_in_its_groups_and_those_above(tmp_path: Path, groups: str, found: list[str]) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(groups)
    root = tmp_path / "groups"
    assert folders(str(tmp_path), str(root)) == [root / name for name in found]


def test_beside_version_1_version_2_has_a_place_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/a\n")
    (tmp_path / "unified").mkdir()
    assert folders(str(tmp_path), str(tmp_path)) == [tmp_path / "unified/a", tmp_path / "unified"]


def test_where_nothing_says_so_there_are_no_groups(tmp_path: Path) -> None:
    assert folders(str(tmp_path), str(tmp_path)) == []
