from collections.abc import Callable
from typing import Any

import pytest

from mbuf import Mbuf, Pool
from mbuf.packet.source import Source, set_source


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.copypacket(),
        lambda m: m.dup(),
        lambda m: m.prepend(100),
        lambda m: m.append(bytes(4000)),
        lambda m: m.segment(100),
    ],
)
def test_the_base_class_of_sources_implements_nothing(pool: Pool, ask: Callable[[Mbuf], object]) -> None:
    with pool.gethdr().append(bytes(150)) as m:
        zone: Any = pool.zones.mbuf
        source = zone.source
        set_source(zone, Source())
        with pytest.raises(NotImplementedError):
            ask(m)
        set_source(zone, source)
        assert bytes(m) == bytes(150)


@pytest.mark.parametrize(("at", "source"), [(None, None), (5, None), ("zone", 5), ("zone", object())])
def test_only_a_source_serves_a_home(pool: Pool, at: Any, source: Any) -> None:
    zone: Any = pool.zones.mbuf
    before = zone.source
    with pytest.raises(TypeError):
        set_source(zone if at == "zone" else at, source)
    assert zone.source is before
