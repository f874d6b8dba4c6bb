"""docs/seed-map.toml has a target for every name of the kernel's file, and the targets exist."""

import re
import tomllib
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRIES = tomllib.loads((ROOT / "docs/seed-map.toml").read_text("utf-8"))["entry"]
BUILT = [entry for entry in ENTRIES if entry.get("state") == "built"]
LATER = [entry for entry in ENTRIES if entry.get("state") == "later"]

PLACE = re.compile(r"mbuf(\.\w+)+(:\w+(\.\w+)*)?")
SENTENCE = re.compile(r"[A-Z0-9][^\n]{8,200}\.")

# All that FreeBSD 13's kern_mbuf.c defines, registers or invokes, and what it uses of the KPI from elsewhere.
KERNEL = {
    "function": """
        tunable_mbinit sysctl_nmbclusters sysctl_nmbjumbop sysctl_nmbjumbo9 sysctl_nmbjumbo16 sysctl_nmbufs
        mbuf_init
        dn_buf_import dn_buf_release dn_pack_import dn_pack_release
        debugnet_mbuf_drain debugnet_mbuf_start debugnet_mbuf_finish debugnet_mbuf_reinit
        mb_ctor_mbuf mb_dtor_mbuf mb_dtor_pack mb_ctor_clust mb_zinit_pack mb_zfini_pack mb_ctor_pack
        mb_reclaim mb_free_notready
        mb_unmapped_compress mb_unmapped_free_mext _mb_unmapped_to_ext mb_unmapped_to_ext
        mb_alloc_ext_pgs mb_free_ext mb_free_extpg
        m_clget m_cljget m_get2 m_getjcl m_getm2 m_extadd m_freem
        m_snd_tag_alloc m_snd_tag_init m_snd_tag_destroy
        mb_alloc_ext_plus_pages mb_mapped_to_unmapped
        m_pkthdr_init m_copydata m_copypacket m_length mb_dupcl mb_free_mext_pgs m_tag_delete_chain
    """,
    "inline": """
        m_get m_gethdr m_getcl m_getm m_free m_init m_gettype m_getzone m_cljset m_extaddref m_extrefcnt
        M_WRITABLE M_START M_SIZE M_LEADINGSPACE M_TRAILINGSPACE m_align mtod m_last
        m_epg_pagelen M_ASSERTEXTPG m_snd_tag_ref m_snd_tag_rele mbufq_enqueue mbufq_dequeue
    """,
    "sysctl": """
        kern.ipc.nmbufs kern.ipc.nmbclusters kern.ipc.nmbjumbop kern.ipc.nmbjumbo9 kern.ipc.nmbjumbo16
        kern.ipc.maxmbufmem kern.ipc.mb_use_ext_pgs kern.ipc.num_snd_tags
    """,
    "zone": """
        zone_mbuf zone_clust zone_pack zone_jumbop zone_jumbo9 zone_jumbo16
        dn_zone_mbuf dn_zone_clust dn_zone_pack
    """,
    "variable": """
        nmbufs nmbclusters nmbjumbop nmbjumbo9 nmbjumbo16 maxmbufmem mb_use_ext_pgs snd_tag_count
        dn_mbufq dn_clustq dn_clsize dn_saved_zones
    """,
    "event": """
        SYSINIT(tunable_mbinit) SYSINIT(mbuf) vm_lowmem nmbufs_change nmbclusters_change
    """,
}


def names(entries: list[dict[str, str]]) -> list[str]:
    return [entry.get("kernel", repr(entry)) for entry in entries]


@pytest.mark.parametrize("kind", KERNEL)
def test_every_name_of_the_kernel_is_in_the_map(kind: str) -> None:
    mapped = {entry["kernel"] for entry in ENTRIES if entry["kind"] == kind}
    missing = set(KERNEL[kind].split()) - mapped
    assert not missing, f"add an [[entry]] of kind {kind!r} to docs/seed-map.toml for each of {sorted(missing)}"


def test_every_name_is_in_the_map_once() -> None:
    twice = [name for name, count in Counter(names(ENTRIES)).items() if count > 1]
    assert not twice, f"leave one entry for each of {twice} in docs/seed-map.toml: one spelling, one place"


@pytest.mark.parametrize("entry", ENTRIES, ids=names(ENTRIES))
def test_every_entry_is_complete(entry: dict[str, str]) -> None:
    unknown = entry.keys() - {"kernel", "kind", "name", "state", "target", "planned", "says", "differs"}
    assert not unknown, f"{entry['kernel']}: remove {sorted(unknown)}, or explain it at the head of the map"
    assert entry["kind"] in KERNEL, f"{entry['kernel']}: its kind must be one of {list(KERNEL)}"
    assert entry["state"] in ("built", "later"), f"{entry['kernel']}: its state must be built or later"
    assert ("name" in entry) == (entry["kind"] == "sysctl"), f"{entry['kernel']}: a sysctl, and no other, has a name"
    assert SENTENCE.fullmatch(entry.get("says", "")), f"{entry['kernel']}: say in one sentence what it does"
    differs = entry.get("differs")
    assert differs is None or SENTENCE.fullmatch(differs), f"{entry['kernel']}: say in one sentence how it differs"


@pytest.mark.parametrize("entry", BUILT, ids=names(BUILT))
def test_the_target_of_a_built_entry_exists(entry: dict[str, str]) -> None:
    assert "planned" not in entry, f"{entry['kernel']}: it is built, so remove what was planned"
    found = resolves(entry["target"])
    assert found, f"{entry['kernel']}: {entry['target']} does not exist: correct the target, or set the state to later"


@pytest.mark.parametrize("entry", LATER, ids=names(LATER))
def test_a_later_entry_has_a_planned_place_and_no_target(entry: dict[str, str]) -> None:
    assert "target" not in entry, f"{entry['kernel']}: only built entries have a target: write planned instead"
    assert PLACE.fullmatch(entry["planned"]), f"{entry['kernel']}: plan a place for it, as module:qualname"


def resolves(target: str) -> bool:
    """True if a module:qualname can be imported. The last name may be a field of instances."""
    module, _, qualname = target.partition(":")
    try:
        place: object = import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return False
    for name in qualname.split(".") if qualname else ():
        fields = getattr(place, "__annotations__", {}), getattr(place, "__slots__", ())
        seen = hasattr(place, name) or any(name in names for names in fields)
        if not seen and not declared(module, name):
            return False
        place = getattr(place, name, None)
    return True


def declared(module: str, name: str) -> bool:
    """True if the module's .pxd declares the name with cdef, so that compiled it is invisible to Python."""
    types = ROOT / "src" / f"{module.replace('.', '/')}.pxd"
    return types.exists() and bool(re.search(rf"^ *cdef .*\b{name}\(", types.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize(
    ("target", "exists"),
    [
        ("mbuf.pool.stat", True),
        ("mbuf.pool.stat:PoolStat", True),
        ("mbuf.pool.stat:PoolStat.zones", True),
        ("mbuf.pool.stat:PoolStat.drops", True),
        ("mbuf.errors:NoBufs.errno", True),
        ("mbuf.pool.stat:PoolStat.cluster", False),
        ("mbuf.pool.stat:Statistics", False),
        ("mbuf.pool.stats:PoolStat", False),
    ],
)
def test_a_target_resolves_only_if_it_exists(target: str, exists: bool) -> None:
    assert resolves(target) == exists
