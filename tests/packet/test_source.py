from collections.abc import Callable

import pytest

from mbuf.packet.source import Source


@pytest.mark.parametrize(
    "ask",
    [
        lambda source: source.get(),
        lambda source: source.gethdr(),
        lambda source: source.getcl(),
        lambda source: source.dropped(None),
    ],
)
def test_a_source_is_a_door_without_a_house_behind(ask: Callable[[Source], object]) -> None:
    with pytest.raises(NotImplementedError):
        ask(Source())
