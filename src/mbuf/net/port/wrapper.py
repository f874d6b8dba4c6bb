"""A port around another: what it doesn't do itself, the other does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.net.port.port import Port

if TYPE_CHECKING:
    from collections.abc import Mapping


class PortWrapper(Port):
    """A port around `port`. Closed, it closes that."""

    port: Port

    @property
    def features(self) -> Mapping[str, str]:  # type: ignore[override]
        return self.port.features

    @property
    def ready(self) -> int:
        return self.port.ready

    def rest(self) -> None:
        self.port.rest()

    def fileno(self) -> int:
        return self.port.fileno()

    def close(self) -> None:
        self.port.close()
