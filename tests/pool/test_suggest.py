import pytest

from mbuf.pool.suggest import near, unknown

NAMES = ("kern.ipc.nmbufs", "kern.ipc.nmbclusters", "vm.uma.mbuf.stats.allocs", "vm.uma.mbuf_cluster.stats.allocs")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("kern.ipc.nmbcluster", "kern.ipc.nmbclusters"),
        ("KERN.IPC.NMBUFS", "kern.ipc.nmbufs"),
        ("nmbufs", "kern.ipc.nmbufs"),
        ("allocs", "vm.uma.mbuf.stats.allocs"),
        ("vm.uma.mbuf.stat.alloc", "vm.uma.mbuf.stats.allocs"),
        ("vm.uma.mbuf-stats_allocs", "vm.uma.mbuf.stats.allocs"),
        ("hw.kern.ipc.nm.bufs", "kern.ipc.nmbufs"),
        ("colour", None),
        ("", None),
    ],
)
def test_what_was_meant_is_guessed(name: str, meant: str | None) -> None:
    assert near(name, NAMES) == meant


def test_without_a_guess_a_few_names_are_listed_and_many_are_not() -> None:
    assert unknown("thing", "nmbuf", NAMES) == "unknown thing 'nmbuf': did you mean kern.ipc.nmbufs?"
    assert unknown("thing", "x", ("one", "two")) == "unknown thing 'x': there are one, two"
    assert unknown("thing", "x", map(str, range(100, 200))) == "unknown thing 'x'"
    many = (*map(str, range(100, 200)), "zone.of_large_items", "zone.of_small_items")
    assert unknown("thing", "of_", many) == "unknown thing 'of_': there are zone.of_large_items, zone.of_small_items"
    assert unknown("thing", "", ()) == "unknown thing ''"
    assert unknown("variable", "MBUF_NMBUF", ("MBUF_NMBUFS",)).endswith("did you mean MBUF_NMBUFS?")
