"""A kind of cluster is defined by one row of `mbuf.kinds` only."""

import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

from laws.sources import identifiers
from mbuf import kinds

SRC = Path(__file__).parents[2] / "src"

#: The table, its constants, and the public names.
TABLE = ("kinds.py", "const.py", "__init__.py")

ROW = """
CLUSTERS += (
    Kind("jumbo32", "mbuf_jumbo_32k", 32768, 7, "kern.ipc.nmbjumbo32", "Maximum number of 32k clusters allowed", 6,
         224, Netstat("jumbo32", "jumbo32", size="32k")),
)
"""

WARNING = (
    "mbuf_jumbo_32k: the limit of 3 is reached (kern.ipc.nmbjumbo32); "
    "requests are refused, or wait, until something is freed"
)
PROGRAM = """
from mbuf import Inval, NoBufs, Pool
from mbuf.pool.tunables import from_environ
from mbuf.stats import netstat
from mbuf.stats import vmstat

limits = {"kern.ipc.nmbclusters": 10, "kern.ipc.nmbjumbo32": 3, "kern.ipc.nmbufs": 100000}
assert from_environ({"MBUF_NMBJUMBO32": "3"}) == {"kern.ipc.nmbjumbo32": 3}
with Pool(1 << 28, tunables=limits, worker=False) as pool:
    m = pool.getjcl(size=32768).append(bytes(30000))
    assert (m.next, m.ext.type, m.ext.size) == (None, 224, 32768)
    assert pool.limits.nmbjumbo32 == pool.zones.jumbo32.limit == pool.sysctl["kern.ipc.nmbjumbo32"] == 3
    assert pool.stat().jumbo32.used == 1
    assert pool.sysctl["vm.uma.mbuf_jumbo_32k.size"] == 32768
    assert pool.sysctl["vm.zone_count"] == 7
    assert "1/0/1/3 32k jumbo clusters in use (current/cache/total/max)" in netstat.text(pool.stat())
    assert "0/0/0/0 requests for jumbo clusters denied (4k/9k/16k/32k)" in netstat.text(pool.stat())
    assert "mbuf_jumbo_32k:       32768,      3,       1," in vmstat.text(pool.stat())
    cluster = pool.cljget(None, size=32768)
    pool.reserve.reinit(1, 1, 32768)
    assert "mbuf_jumbo_32k" in [zone.name for zone in pool.audit().zones]
    try:
        pool.getjcl(size=32768)
    except NoBufs as error:
        assert (error.zone, error.limit, error.sysctl) == ("mbuf_jumbo_32k", 3, "kern.ipc.nmbjumbo32")
    try:
        pool.sysctl["kern.ipc.nmbclusters"] = 99999999
        pool.sysctl["kern.ipc.nmbjumbo32"] = 4
    except Inval as error:
        assert "less than 99999999 + " in str(error) and str(error).count("+") == 4
    with pool.reserve.active():
        assert pool.getjcl(size=32768).ext.size == 32768
    m.freem()
"""


def test_a_new_kind_of_cluster_is_one_row(tmp_path: Path) -> None:
    copytree(SRC, tmp_path, dirs_exist_ok=True, ignore=ignore_patterns("*.so", "*.c", "__pycache__"))
    table = tmp_path / "mbuf/kinds.py"
    text = table.read_text("utf-8")
    before = text.index("CLUSTER, JUMBOS = ")
    table.write_text(text[:before] + ROW + text[before:], "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, f"{WARNING}\n")


def test_no_other_source_lists_the_kinds() -> None:
    kind = next(kind for kind in kinds.CLUSTERS if kind.zone == "mbuf_jumbo_9k")
    named = re.compile(rf"{kind.zone}|{kind.limit}\b")
    for path in sorted((SRC / "mbuf").rglob("*.p*")):
        if path.suffix not in (".py", ".pxd") or path.relative_to(SRC / "mbuf").as_posix() in TABLE:
            continue
        text = path.read_text("utf-8")
        assert not identifiers(path.name, text) & {kind.attr, "EXT_JUMBO9", "MJUM9BYTES"}, path
        assert not named.search(text), path


def test_the_arrays_in_ext_pxd_have_an_entry_for_every_kind() -> None:
    room = re.findall(r"\[(\d+)\]", (SRC / "mbuf/packet/ext.pxd").read_text("utf-8"))
    assert all(len(kinds.CLUSTERS) <= int(number) for number in room)
    assert len(room) == 2
